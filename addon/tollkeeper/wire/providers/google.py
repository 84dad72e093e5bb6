"""Google: the Gemini API, Vertex AI, and Code Assist (the login of Gemini CLI).

Sources: ai.google.dev/api; docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest (once Vertex AI).
"""

from tollkeeper.wire.row import (
    CHAT,
    COUNTING,
    EMBED,
    GEMINI_LIVE,
    GENERATE,
    INTERACTIONS,
    LATER,
    MESSAGES,
    PREDICT,
    RETRIEVE,
    Provider,
    blind,
    free,
    read,
)
from tollkeeper.wire.traits import OUTPUT_IS_REST, SUBSCRIPTION, USAGE_ASKABLE, WRAPPED

from .batches import GEMINI_BATCHES

_RAW = r":(?:rawPredict|streamRawPredict)"
_PICTURES = r"(?P<model>(?:imagen|imagegeneration|imagetext|virtual-try-on|product-recontext|image-segmentation)[^/:]*)"
_FILM = r".*/models/(?P<model>[^/:]+):predictLongRunning"
_HOURLY = "an endpoint of your own: billed by the hour that its machines run, not by the call"
_BATCH = "a batch: billed when it has run, which is not read yet"

_MEDIA = (
    read("POST", r".*/models/" + _PICTURES + r":predict", "image_generation", PREDICT),
    read("POST", r".*/models/(?P<model>lyria[^/:]*):predict", "speech", PREDICT),
    read("POST", _FILM, "video", PREDICT),
    free("POST", r".*:fetchPredictOperation", "a film looked at: it was billed when it was asked for"),
    free("GET", r".*/models/[^/:]+/operations/[^/]+", "a film looked at: it was billed when it was asked for"),
)

_INTERACTIONS = (
    read("POST", r".*/interactions(?::create|:createStream)?", "chat", INTERACTIONS),
    read("GET", r".*/interactions/[^/:]+(?::poll|:stream)?", RETRIEVE, INTERACTIONS),
    read("POST", r".*/interactions/[^/:]+(?:/cancel|:cancel)", RETRIEVE, INTERACTIONS),
)

_CACHES = (
    blind("POST PATCH", r".*/cachedContents(?:/.*)?", "cache", "cached content is billed by the hour it is kept"),
    free("GET", r".*/cachedContents(?:/.*)?", "a list of caches"),
)

_LIVE = (
    read("WEBSOCKET", r"/ws/.*BidiGenerateContent(?:Constrained)?", "realtime", GEMINI_LIVE),
    blind("*", r"/ws/.*BidiGenerateMusic", "realtime", "music as it plays: nothing is stated of what it costs"),
    blind("*", r"/ws/.*", "realtime", f"this socket: {LATER}"),
)

_VERTEX = (
    free("POST", r".*/publishers/anthropic/models/count-tokens" + _RAW, COUNTING, "count_tokens"),
    read("POST", r".*/publishers/anthropic/models/(?P<model>[^/:]+)" + _RAW, "chat", MESSAGES),
    blind(
        "POST", r".*/publishers/[^/]+/models/[^/:]*ocr[^/:]*" + _RAW, "ocr", f"reading of documents, billed by the page: {LATER}"
    ),
    blind("POST", r".*/publishers/google/models/[^/:]+" + _RAW, "predict", f"this model's own shape: {LATER}"),
    read("POST", r".*/publishers/[^/]+/models/(?P<model>[^/:]+)" + _RAW, "chat", CHAT),
    *_MEDIA,
    read("POST", r".*/models/(?P<model>[^/:]*embedding[^/:]*|textembedding-gecko[^/:]*):predict", "embeddings", EMBED),
    read("POST", r".*/models/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)", "embeddings", EMBED),
    blind(
        "POST",
        r".*/publishers/.*:(?:predict|serverStreamingPredict|directPredict)",
        "predict",
        f"this model's predictions: {LATER}",
    ),
    blind(
        "POST",
        r".*/endpoints/(?!openapi(?:/|$))[^/:]+(?::(?:predict|rawPredict|streamRawPredict|serverStreamingPredict|directPredict"
        r"|directRawPredict|streamingPredict|explain)|/(?:chat/)?completions|/embeddings|/deployedModels/.*)",
        "predict",
        _HOURLY,
    ),
    *_INTERACTIONS,
    free("POST", r".*:computeTokens", COUNTING, "count_tokens"),
    free("POST", r".*:(?:fetchPublisherModelConfig|setPublisherModelConfig)"),
    blind("POST", r".*/batchPredictionJobs", "batch", _BATCH),
    blind("POST", r".*/(?:tuningJobs|trainingPipelines|customJobs)", "fine_tuning", "training is billed apart from any answer"),
    blind(
        "POST", r".*/reasoningEngines(?:/.*)?", "agent", "an agent's runtime is billed by the hour; its model calls are its own"
    ),
    *_CACHES,
    *_LIVE,
)

_GEMINI = (
    read("POST", r".*/(?:models|tunedModels)/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)", "embeddings", EMBED),
    *_MEDIA,
    *GEMINI_BATCHES,
    blind("POST", r".*:asyncBatchEmbedContent", "batch", _BATCH),
    blind(
        "POST",
        r".*:(?:generateAnswer|generateMessage|generateText|embedText|batchEmbedText)",
        "predict",
        f"a retired API: {LATER}",
    ),
    free("POST", r".*:(?:countMessageTokens|countTextTokens)", COUNTING, "count_tokens"),
    blind("POST", r".*:predict", "predict", f"this model's predictions: {LATER}"),
    *_INTERACTIONS,
    blind(
        "POST",
        r".*/fileSearchStores/[^/:]+:(?:uploadToFileSearchStore|importFile)",
        "embeddings",
        "file search: what it embeds is billed by the token, and no answer says how many there were",
    ),
    free("GET POST PATCH", r".*/fileSearchStores(?:/.*)?", "a store is free: filling it is not"),
    free("POST", r".*/auth_tokens|.*/(?:files|corpora)(?:/[^/:]+)?:(?:register|transferOwnership)"),
    free("GET POST PATCH", r".*/(?:agents|webhooks|environments)(?:/.*)?"),
    blind("POST", r".*/tunedModels", "fine_tuning", "training is billed apart from any answer"),
    *_CACHES,
    *_LIVE,
)

_CODE_ASSIST = (
    read("POST", r"/v1internal:(?:generateContent|streamGenerateContent)", "generate_content", GENERATE),
    blind(
        "POST",
        r"/v1internal:(?:stream)?(?:generateChat|generateCode|completeCode|transformCode)",
        "chat",
        "an editor's own calls: part of the plan, and nothing is stated of what they use",
    ),
    free("POST", r"/v1internal:countTokens", COUNTING, "count_tokens"),
    free("POST", r"/v1internal:.*"),
)

PROVIDERS = (
    Provider(name="gemini", rows=_GEMINI, usage=USAGE_ASKABLE, chat_traits=frozenset({OUTPUT_IS_REST})),
    Provider(name="vertex", rows=_VERTEX, chat_traits=frozenset({OUTPUT_IS_REST})),
    Provider(name="code-assist", rows=_CODE_ASSIST, traits=frozenset({SUBSCRIPTION, WRAPPED})),
)
