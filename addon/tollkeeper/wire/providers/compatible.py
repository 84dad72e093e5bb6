"""Hosts that speak OpenAI's shape, each with what is known to deviate."""

from tollkeeper.wire.row import CHAT, LATER, Provider, blind, read
from tollkeeper.wire.traits import REASONING_APART, REASONING_OUTSIDE, USAGE_ASKABLE, USAGE_UNASKED

_MISTRAL = (
    read("POST", r"/v1/(?:fim|agents)/completions", "chat", CHAT),
    blind("POST", r"/v1/(?:ocr|conversations|audio)(?:/.*)?", "other", f"this surface of Mistral: {LATER}"),
)
_WRITER = (
    read("POST", r"/v1/chat", "chat", CHAT),
    blind("POST", r"/v1/completions", "text_completion", "Writer's text completions state no usage"),
)

PROVIDERS = (
    # Streams carry usage unasked: seen in recorded streams without the flag, or documented (docs/wire.md).
    Provider(name="mistral", rows=_MISTRAL, usage=USAGE_UNASKED),
    Provider(name="deepseek", usage=USAGE_UNASKED),
    Provider(name="zai", usage=USAGE_UNASKED),
    Provider(name="perplexity", usage=USAGE_UNASKED, chat_traits=frozenset({REASONING_APART})),
    Provider(name="cerebras", usage=USAGE_UNASKED, new_cap=True),
    Provider(name="groq", usage=USAGE_UNASKED, new_cap=True),
    Provider(name="moonshot", usage=USAGE_UNASKED),
    Provider(name="writer", rows=_WRITER, usage=USAGE_UNASKED),
    # It must be asked for, and asking is known to be taken: documented, or recorded with a 200.
    Provider(name="xai", usage=USAGE_ASKABLE, chat_traits=frozenset({REASONING_OUTSIDE})),
    Provider(name="together", usage=USAGE_ASKABLE),
    Provider(name="fireworks", usage=USAGE_ASKABLE),
    Provider(name="venice", usage=USAGE_ASKABLE),
    Provider(name="doubleword", usage=USAGE_ASKABLE),
    Provider(name="nvidia", usage=USAGE_ASKABLE),
    Provider(name="deepinfra", usage=USAGE_ASKABLE),
    Provider(name="sambanova", usage=USAGE_ASKABLE),
    Provider(name="alibaba", usage=USAGE_ASKABLE),
    Provider(name="local", usage=USAGE_ASKABLE),
)
