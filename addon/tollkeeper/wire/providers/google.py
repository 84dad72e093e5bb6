"""Google: the Gemini API, Vertex AI, and Code Assist (the login of Gemini CLI)."""

from tollkeeper.wire.row import CHAT, COUNTING, GENERATE, LATER, MESSAGES, Provider, blind, free, read
from tollkeeper.wire.traits import OUTPUT_IS_REST, SUBSCRIPTION, USAGE_ASKABLE, WRAPPED

_PREDICT = r":(?:rawPredict|streamRawPredict)"

_VERTEX = (
    free("POST", r".*/publishers/anthropic/models/count-tokens" + _PREDICT, COUNTING, "count_tokens"),
    read("POST", r".*/publishers/anthropic/models/(?P<model>[^/:]+)" + _PREDICT, "chat", MESSAGES),
    read("POST", r".*/publishers/mistralai/models/(?P<model>[^/:]+)" + _PREDICT, "chat", CHAT),
    blind(
        "POST", r".*:(?:predict|predictLongRunning|embedContent|batchEmbedContents)", "predict", f"Vertex predictions: {LATER}"
    ),
    blind("POST", r".*" + _PREDICT, "predict", f"this publisher's models on Vertex: {LATER}"),
    blind("POST", r".*/cachedContents", "cache", "cached content is billed by the hour it is kept"),
)

_GEMINI = (
    blind("POST", r".*:(?:embedContent|batchEmbedContents)", "embeddings", f"Gemini embeddings: {LATER}"),
    blind(
        "POST", r".*:(?:predict|predictLongRunning|batchGenerateContent|generateAnswer|asyncBatchEmbedContent)", "predict", LATER
    ),
    blind("POST", r".*/interactions", "chat", f"Gemini Interactions: {LATER}"),
    blind("POST", r".*/cachedContents", "cache", "cached content is billed by the hour it is kept"),
    blind("*", r"/ws/.*", "realtime", "Gemini Live: its frames are not read yet"),
)

_CODE_ASSIST = (
    read("POST", r"/v1internal:(?:generateContent|streamGenerateContent)", "generate_content", GENERATE),
    free("POST", r"/v1internal:.*"),
)

PROVIDERS = (
    Provider(name="gemini", rows=_GEMINI, usage=USAGE_ASKABLE, chat_traits=frozenset({OUTPUT_IS_REST})),
    Provider(name="vertex", rows=_VERTEX, chat_traits=frozenset({OUTPUT_IS_REST})),
    Provider(name="code-assist", rows=_CODE_ASSIST, traits=frozenset({SUBSCRIPTION, WRAPPED})),
)
