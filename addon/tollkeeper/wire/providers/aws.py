"""Amazon Bedrock and what stands beside it.

Reference: docs.aws.amazon.com/bedrock/latest/APIReference, operations of "Amazon Bedrock Runtime".
"""

from tollkeeper.wire.row import COUNTING, Provider, all_blind, blind, free, read
from tollkeeper.wire.traits import USAGE_ASKABLE

_CONVERSE, _INVOKE, _GUARDRAIL = "bedrock-converse", "bedrock-invoke", "bedrock-guardrail"
_MODEL = r"(?:/.*?)?/model/(?P<model>%s)/"
_INVOKED = r"invoke(?:-with-response-stream)?"

MODEL_ROWS = (
    free("POST", _MODEL % r".+" + r"count-tokens", COUNTING, "count_tokens"),
    read("POST", _MODEL % r".+" + r"converse(?:-stream)?", "chat", _CONVERSE),
    read("POST", _MODEL % r".*\bembed.*" + _INVOKED, "embeddings", _INVOKE),
    read("POST", _MODEL % r".*\brerank.*" + _INVOKED, "rerank", _INVOKE),
    read(
        "POST",
        _MODEL % r"(?:.*\b)?(?:stability\.|amazon\.nova-canvas|amazon\.titan-image).*" + _INVOKED,
        "image_generation",
        _INVOKE,
    ),
    read("POST", _MODEL % r".+" + _INVOKED, "chat", _INVOKE),
    blind(
        "POST WEBSOCKET",
        _MODEL % r".+" + r"invoke-with-bidirectional-stream",
        "realtime",
        "a two-way stream of Bedrock (speech) needs HTTP/2 end to end: its frames are not read",
    ),
)
"""The paths that name a model; gateways put something before them."""

_BEDROCK = (
    *MODEL_ROWS,
    read("POST", r"/guardrail/[^/]+/version/[^/]+/apply", "moderation", _GUARDRAIL),
    blind("POST", r"/guardrail.*", "moderation", "a check of guardrails that nothing here reads the units of"),
    blind("POST", r"/async-invoke", "video", "a job of Bedrock's: its result, and what it is billed by, goes to a bucket"),
    free("GET", r"/async-invoke(?:/.*)?", "the state of a job"),
)

PROVIDERS = (
    # Its OpenAI surface is the mantle's (docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html).
    Provider(name="bedrock", rows=_BEDROCK, usage=USAGE_ASKABLE, new_cap=True),
    Provider(name="bedrock-mantle", usage=USAGE_ASKABLE, new_cap=True),
    Provider(name="bedrock-agent", rows=all_blind("answers of Bedrock agents carry no usage")),
    Provider(name="sagemaker", rows=all_blind("priced by the instance and hour")),
)
