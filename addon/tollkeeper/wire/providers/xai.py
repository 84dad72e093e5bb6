"""xAI: OpenAI's shape over HTTP, and its own gRPC API (docs.x.ai; github.com/xai-org/xai-proto)."""

from tollkeeper.wire.row import CHAT, COUNTING, RETRIEVE, XAI_GRPC, XAI_REALTIME, Provider, blind, free, read
from tollkeeper.wire.traits import REASONING_OUTSIDE, USAGE_ASKABLE

_API = r"/xai_api\."

_XAI = (
    read("WEBSOCKET", r"/v1/realtime", "realtime", XAI_REALTIME),
    read("GET", r"/v1/chat/deferred-completion/[^/]+", RETRIEVE, CHAT),
    free("POST", r"/v1/tokenize-text", COUNTING, "count_tokens"),
    read("POST", _API + r"Chat/(?:GetCompletion|GetCompletionChunk|StartDeferredCompletion|CompactContext)", "chat", XAI_GRPC),
    read("POST", _API + r"(?:Chat/GetDeferredCompletion|Video/GetDeferredVideo)", RETRIEVE, XAI_GRPC),
    read("POST", _API + r"Sample/SampleText(?:Streaming)?", "text_completion", XAI_GRPC),
    read("POST", _API + r"Image/GenerateImage", "image_generation", XAI_GRPC),
    read("POST", _API + r"Video/(?:Generate|Extend)Video", "video", XAI_GRPC),
    free("POST", _API + r"Chat/GetStoredCompletion", "a stored response read again: it was billed when it was made"),
    free("POST", _API + r"Chat/DeleteStoredCompletion"),
    free("POST", _API + r"Tokenize/TokenizeText", COUNTING, "count_tokens"),
    free("POST", _API + r"Models/.*", "a list of models", "list_models"),
    free("POST", _API + r"Auth/.*", "a status or a list"),
    free("POST", _API + r"Files/.*", "files are not billed by the request"),
    blind("POST", _API + r"Embedder/Embed", "embeddings", "xAI embeddings state how many inputs there were, not how many tokens"),
    blind("POST", _API + r"Documents/Search", "search", "searches of a collection state no usage"),
    free(
        "POST",
        _API + r"BatchMgmt/(?:CreateBatch|GetBatch|ListBatches|CancelBatch|ListBatchRequestMetadata)",
        "a status or a list",
    ),
    blind("POST", _API + r"BatchMgmt/.*", "batch", "a batch over gRPC: billed when it has run, which is not read yet"),
    blind("POST", r"/(?:xai_api|collections|xai_management)\..*", "other", "a gRPC method that nothing here reads the usage of"),
)

PROVIDERS = (
    # Streams must be asked for usage, and asking is known to be taken: recorded with a 200.
    Provider(name="xai", rows=_XAI, usage=USAGE_ASKABLE, chat_traits=frozenset({REASONING_OUTSIDE})),
)
