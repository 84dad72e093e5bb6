"""The paths that hosts share, whoever they are. Source: each API's reference (docs/wire.md)."""

from tollkeeper.wire.row import (
    CHAT,
    COUNTING,
    GENERATE,
    IMAGES,
    LATER,
    LIVE,
    MESSAGES,
    REALTIME,
    RESPONSES,
    RETRIEVE,
    SPEECH,
    TRANSCRIPTION,
    VIDEO,
    Row,
    blind,
    free,
    read,
)

from .aws import MODEL_ROWS
from .batches import BATCHES

_AT = r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)"

COMMON: tuple[Row, ...] = (
    read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/chat/completions", "chat", CHAT),
    read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/completions", "text_completion", CHAT),
    read("POST", r"(?:.*/(?:deployments|engines)/(?P<model>[^/]+)|.*)/embeddings", "embeddings", CHAT),
    free("POST", r".*/responses/input_tokens", COUNTING, "count_tokens"),
    *BATCHES,
    read("POST", r".*/responses(?:/compact)?", "chat", RESPONSES),
    read("WEBSOCKET", r".*/responses", "chat", RESPONSES),
    blind("GET", r".*/responses", "chat", "the upgrade to a WebSocket, without its frames"),
    free("GET", r".*/responses/[^/]+/.+", "the parts of a stored response: it was billed when it was made"),
    free("POST", r".*/messages/count_tokens", COUNTING, "count_tokens"),
    read("POST", r".*/v1/messages", "chat", MESSAGES),
    read(
        "POST",
        r".*/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?:generateContent|streamGenerateContent)",
        "generate_content",
        GENERATE,
    ),
    *MODEL_ROWS,  # Bedrock's paths, behind a gateway of one's own
    free("POST", r".*:countTokens", COUNTING, "count_tokens"),
    free("POST", r".*/moderations", "moderation is free", "moderation"),
    read("POST", _AT + r"/images/(?:generations|edits|variations)", "image_generation", IMAGES),
    read("POST", r".*/image/(?:generate|edit|upscale)", "image_generation", IMAGES),
    read(
        "POST",
        r".*/(?:workflows|image_generation)/(?P<model>accounts/[^/]+/models/[^/]+)(?:/(?:text_to_image|image_to_image|control_net))?",
        "image_generation",
        IMAGES,
    ),
    blind("POST", r".*/images/[a-z]+", "image_generation", f"these pictures: {LATER}"),
    read("POST", _AT + r"/audio/(?:transcriptions|translations)", "transcription", TRANSCRIPTION),
    read("POST", _AT + r"/audio/speech", "speech", SPEECH),
    blind("POST", r".*/audio/[a-z_]+", "audio", f"this sound: {LATER}"),
    read("POST", r".*/videos(?:/generations|/edits|/extensions|/[^/]+/(?:remix|extend))?", "video", VIDEO),
    read("POST", r".*/video/generations(?:/jobs)?", "video", VIDEO),
    blind("POST", r".*/(?:videos|video/generations)(?:/.*)?", "video", f"this video: {LATER}"),
    read("GET", r".*/videos/[^/]+", RETRIEVE, VIDEO),
    free("GET", r".*/(?:videos|video/generations)(?:/.*)?", "a video looked at again: it was billed when it was made"),
    read("POST", r".*/(?:rerank|reranking)", "rerank", "rerank"),
    read("WEBSOCKET", r".*/realtime", "realtime", REALTIME),
    blind("GET POST", r".*/realtime", "realtime", "a realtime session without its frames: by WebRTC its media do not pass here"),
    read("WEBSOCKET", r".*/live/sessions", "realtime", LIVE),
    blind("POST WEBSOCKET", r".*/live/sessions(?:/.*)?", "realtime", "a Live session whose voice does not pass here"),
    blind("POST WEBSOCKET", r".*/realtime/translations(?:/.*)?", "realtime", "a translation session: it states no usage"),
    free("POST", r".*/realtime/(?:sessions|client_secrets|transcription_sessions)"),
    blind("POST", r".*/realtime/calls", "realtime", "a realtime call: its media do not pass here"),
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
