"""Amazon Bedrock and what stands beside it."""

from tollkeeper.wire.row import COUNTING, LATER, Provider, all_blind, blind, free
from tollkeeper.wire.traits import USAGE_ASKABLE

_BEDROCK = (
    free("POST", r"/model/[^/]+/count-tokens", COUNTING, "count_tokens"),
    blind(
        "POST",
        r"/model/(?P<model>.+)/(?:converse|converse-stream|invoke|invoke-with-response-stream|invoke-with-bidirectional-stream)",
        "chat",
        f"Bedrock: {LATER}",
    ),
    blind("POST", r"/guardrail/.*", "guardrail", "guardrails are billed in text units"),
)

PROVIDERS = (
    Provider(name="bedrock", rows=_BEDROCK),
    Provider(name="bedrock-mantle", usage=USAGE_ASKABLE),
    Provider(name="bedrock-agent", rows=all_blind("answers of Bedrock agents carry no usage")),
    Provider(name="sagemaker", rows=all_blind("priced by the instance and hour")),
)
