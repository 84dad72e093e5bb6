"""One module per API shape; ``DIALECTS`` is how the rest of the room finds them."""

from collections.abc import Mapping
from types import MappingProxyType

from tollkeeper.wire.binary import Binary
from tollkeeper.wire.dialect import Dialect
from tollkeeper.wire.sessions import NewSession

from .anthropic_messages import AnthropicMessages
from .any_shape import AnyShape
from .batch_anthropic import AnthropicBatch, AnthropicBatchResults
from .batch_file import BatchFile
from .batch_gemini import GeminiBatch, GeminiBatchResults
from .batch_openai import OpenAIBatch, OpenAIBatchResults
from .bedrock_converse import BedrockConverse
from .bedrock_guardrail import BedrockGuardrail
from .bedrock_invoke import BedrockInvoke
from .cohere import Cohere
from .dashscope import DashScope
from .gemini_embed import GeminiEmbed
from .gemini_generate import GeminiGenerate
from .gemini_interactions import GeminiInteractions
from .gemini_live import gemini_live_session
from .gemini_predict import GeminiPredict
from .live_session import live_session
from .minimax import MiniMax
from .mistral_native import MistralNative
from .ollama import Ollama
from .openai_audio import OpenAISpeech, OpenAITranscription
from .openai_chat import OpenAIChat
from .openai_images import OpenAIImages
from .openai_responses import OpenAIResponses
from .openai_runs import OpenAIRuns
from .openai_video import OpenAIVideo
from .perplexity_async import PerplexityAsync
from .realtime_session import realtime_session, xai_realtime_session
from .replicate import Replicate
from .rerank import Rerank
from .responses_session import responses_session
from .stated_counts import StatedCounts
from .vercel_sdk import VercelSDK
from .voyage import Voyage
from .watsonx import Watsonx
from .workers_ai import WorkersAI
from .xai_grpc import XaiGrpc

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            OpenAIChat(),
            OpenAIResponses(),
            AnthropicMessages(),
            GeminiGenerate(),
            GeminiInteractions(),
            GeminiEmbed(),
            GeminiPredict(),
            OpenAIBatch(),
            OpenAIBatchResults(),
            OpenAIRuns(),
            AnthropicBatch(),
            AnthropicBatchResults(),
            GeminiBatch(),
            GeminiBatchResults(),
            BatchFile(),
            OpenAIImages(),
            OpenAITranscription(),
            OpenAISpeech(),
            OpenAIVideo(),
            BedrockConverse(),
            BedrockInvoke(),
            BedrockGuardrail(),
            XaiGrpc(),
            AnyShape(),
            Cohere(),
            DashScope(),
            MiniMax(),
            MistralNative(),
            Ollama(),
            PerplexityAsync(),
            Replicate(),
            Rerank(),
            StatedCounts(),
            VercelSDK(),
            Voyage(),
            Watsonx(),
            WorkersAI(),
        )
    }
)

BINARY: Mapping[str, Binary] = MappingProxyType({dialect.name: dialect for dialect in (XaiGrpc(),)})
"""The dialects whose bodies are no JSON."""

SESSIONS: Mapping[str, NewSession] = MappingProxyType(
    {
        "openai-responses": responses_session,
        "openai-realtime": realtime_session,
        "openai-live": live_session,
        "xai-realtime": xai_realtime_session,
        "gemini-live": gemini_live_session,
    }
)
"""How the frames of a WebSocket are read, by the dialect of its endpoint."""
