"""Hosts that speak OpenAI's shape, each with what is known to deviate."""

from tollkeeper.wire.row import CHAT, COUNTING, RETRIEVE, Provider, blind, free, read
from tollkeeper.wire.traits import REASONING_APART, TEN_SECONDS, USAGE_ASKABLE, USAGE_UNASKED

_MISTRAL = (
    read("POST", r"/v1/(?:fim|agents)/completions", "chat", CHAT),
    read("POST", r"/v1/conversations(?:/[^/]+(?:/restart)?)?", "chat", "mistral-native"),
    free("GET DELETE", r"/v1/(?:conversations|agents|libraries)(?:/.*)?", "stored answers and settings"),
    read("POST", r"/v1/ocr", "ocr", "mistral-native"),
    read("POST", r"/v1/audio/transcriptions", "transcription", "mistral-native"),
    read("POST", r"/v1/(?:chat/)?(?:moderations|classifications)", "moderation", CHAT),  # Mistral bills them by the token
    free("POST PATCH", r"/v1/agents(?:/[^/]+(?:/version)?)?", "settings of an agent"),
    blind("POST", r"/v1/libraries(?:/.*)?", "storage", "a library's indexing is billed by token, which no answer states"),
)
_PERPLEXITY = (
    read("POST", r"/v1/sonar", "chat", CHAT),
    read("POST", r"(?:/v1)?/async/(?:chat/completions|sonar)", "chat", "perplexity-async"),
    read("GET", r"(?:/v1)?/async/(?:chat/completions|sonar)/[^/]+", RETRIEVE, "perplexity-async"),
    blind("POST", r"(?:/v1)?/search", "search", "the Search API is billed by the request, and states nothing"),
)
_AIGC = r"/api/v1/services/(?:aigc/)?"
_ALIBABA = (
    read("POST", r"/api/v1/services/embeddings/.*", "embeddings", "dashscope"),
    read("POST", r"/api/v1/services/rerank/.*", "rerank", "dashscope"),
    read(
        "POST", _AIGC + r"(?:text2image|image2image|image-generation|background-generation)/.*", "image_generation", "dashscope"
    ),
    read("POST", _AIGC + r"(?:video-generation|image2video)/.*", "video", "dashscope"),
    read("POST", r"/api/v1/services/.*|/api/v1/apps/[^/]+/completion", "chat", "dashscope"),
    read("GET", r"/api/v1/tasks/[^/]+", RETRIEVE, "dashscope"),
    free("POST", r"/api/v1/(?:tokenizer|tasks/[^/]+/cancel|uploads)", COUNTING, "count_tokens"),
)
_MINIMAX = (
    read("POST", r"/v1/text/chatcompletion(?:_v2|_pro)?", "chat", "minimax"),
    read("POST", r"/v1/t2a_v2", "speech", "minimax"),
    blind(
        "POST",
        r"/v1/(?:t2a_async_v2|video_generation|image_generation|music_generation|voice_.*)",
        "other",
        "billed by the piece, which no answer states",
    ),
)
_VOYAGE = (
    read("POST", r"/v1/(?:multimodalembeddings|contextualizedembeddings)", "embeddings", "voyage"),
    read("POST", r"/v1/rerank", "rerank", "rerank"),
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
    Provider(name="perplexity", rows=_PERPLEXITY, usage=USAGE_UNASKED, chat_traits=frozenset({REASONING_APART})),
    Provider(name="cerebras", usage=USAGE_UNASKED, new_cap=True),
    Provider(name="groq", usage=USAGE_UNASKED, new_cap=True, traits=frozenset({TEN_SECONDS})),
    Provider(name="moonshot", usage=USAGE_UNASKED),
    Provider(name="writer", rows=_WRITER, usage=USAGE_UNASKED),
    # It must be asked for, and asking is known to be taken: documented, or recorded with a 200.
    Provider(name="together", usage=USAGE_ASKABLE),
    Provider(name="fireworks", usage=USAGE_ASKABLE),
    Provider(name="venice", usage=USAGE_ASKABLE),
    Provider(name="doubleword", usage=USAGE_ASKABLE),
    Provider(name="nvidia", usage=USAGE_ASKABLE),
    Provider(name="sambanova", usage=USAGE_ASKABLE),
    Provider(name="alibaba", rows=_ALIBABA, usage=USAGE_ASKABLE),
    Provider(name="minimax", rows=_MINIMAX),
    Provider(name="voyage", rows=_VOYAGE),
)
