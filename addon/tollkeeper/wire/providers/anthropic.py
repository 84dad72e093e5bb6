"""Anthropic, also on AWS."""

from tollkeeper.wire.row import Provider, blind, free

_ANTHROPIC = (
    free("*", r"/api/(?!v1/messages).*", "telemetry and settings of a client"),
    blind("POST", r"/v1/complete", "text_completion", "legacy completions state no usage"),
    free("*", r"/v1/(?:files|skills|organizations|oauth|mcp_servers)(?:/.*)?"),
)

PROVIDERS = (Provider(name="anthropic", rows=_ANTHROPIC), Provider(name="anthropic-aws"))
