"""One module per API shape; ``DIALECTS`` is how the rest of the room finds them."""

from collections.abc import Mapping
from types import MappingProxyType

from tollkeeper.wire.dialect import Dialect

from .anthropic_messages import AnthropicMessages
from .gemini_generate import GeminiGenerate
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {dialect.name: dialect for dialect in (OpenAIChat(), OpenAIResponses(), AnthropicMessages(), GeminiGenerate())}
)
