"""The paths that hosts share, whoever they are. Source: each API's reference (docs/wire.md)."""

from tollkeeper.wire.row import CHAT, COUNTING, GENERATE, LATER, MESSAGES, RESPONSES, Row, blind, free, read

COMMON: tuple[Row, ...] = (
    read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/chat/completions", "chat", CHAT),
    read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/completions", "text_completion", CHAT),
    read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/embeddings", "embeddings", CHAT),
    free("POST", r".*/responses/input_tokens", COUNTING, "count_tokens"),
    read("POST", r".*/responses(?:/compact)?", "chat", RESPONSES),
    free("POST", r".*/responses/[^/]+/cancel"),
    blind("GET WEBSOCKET", r".*/responses", "chat", "Responses over a WebSocket: its frames are not read yet"),
    free("GET", r".*/responses/[^/]+(?:/.*)?", "a stored response read again: it was billed when it was made"),
    free("POST", r".*/messages/count_tokens", COUNTING, "count_tokens"),
    blind("POST", r".*/v1/messages/batches", "batch", "a batch: billed when its results are read, which is not read yet"),
    blind("GET", r".*/v1/messages/batches/[^/]+/results", "batch", "results of a batch, billed at half price, are not read yet"),
    read("POST", r".*/v1/messages", "chat", MESSAGES),
    read(
        "POST",
        r".*/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?:generateContent|streamGenerateContent)",
        "generate_content",
        GENERATE,
    ),
    free("POST", r".*:countTokens", COUNTING, "count_tokens"),
    free("POST", r".*/moderations", "moderation is free", "moderation"),
    blind("POST", r".*/images/[a-z]+", "image_generation", f"image generation: {LATER}"),
    blind("POST", r".*/audio/[a-z]+", "audio", f"audio: {LATER}"),
    blind("POST", r".*/(?:videos|video/generations)(?:/.*)?", "video", f"video: {LATER}"),
    blind("POST", r".*/(?:rerank|reranking)", "rerank", f"rerank: {LATER}"),
    blind("GET POST WEBSOCKET", r".*/realtime", "realtime", "a realtime session: its frames are not read yet"),
    free("POST", r".*/realtime/(?:sessions|client_secrets|transcription_sessions)"),
    blind("POST", r".*/realtime/calls", "realtime", "a realtime call: its media do not pass here"),
    blind("POST", r".*/batches", "batch", "a batch: billed when it has run, which is not read yet"),
    blind("GET", r".*/files/[^/]+/content", "batch", "may be the results of a batch, which are not read yet"),
    blind("POST", r".*/fine_tuning/.*", "fine_tuning", "training is billed apart from any answer"),
    free("POST", r".*/(?:files|uploads)(?:/.*)?"),
    free("GET", r".*/chat/completions(?:/.*)?", "stored answers read again"),
    free("HEAD OPTIONS DELETE TRACE", r".*"),
    free("GET", r"/|.*/(?:models|engines|deployments|tunedModels)(?:/[^/:]+)*", "a list of models", "list_models"),
    free(
        "GET",
        r".*/(?:files|uploads|batches|fine_tuning|vector_stores|containers|cachedContents|operations|credits|keys?|usage|me"
        r"|organizations?|skills|health|version|tags|ps)(?:/.*)?",
        "a status or a list",
    ),
)
