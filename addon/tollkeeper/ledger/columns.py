"""The columns of the two append-only tables, in the one order that storage, hashing and reading share."""

ENTRY = (
    "seq",
    "kind",
    "call_id",
    "revision",
    "at",
    "counted_at",
    "started_at",
    "subject",
    "issuer",
    "channel",
    "assurance",
    "groups",
    "project",
    "client",
    "session",
    "agent",
    "provider",
    "host",
    "operation",
    "unmetered",
    "model_requested",
    "streamed",
    "model",
    "model_billed",
    "verdict",
    "would",
    "rule",
    "budget",
    "reason",
    "status",
    "outcome",
    "usage_source",
    "cost_source",
    "hold_nanousd",
    "list_cost_nanousd",
    "cost_nanousd",
    "exposure_nanousd",
    "provider_cost_nanousd",
    "response_id",
    "terms",
    "usage",
    "flags",
    "error",
    "duration_ms",
    "first_byte_ms",
    "buckets",
    "openings",
    "format",
    "plan",
    "client_session",
    "client_project",
    "account",
    "end_user",
    "parent_agent",
    "agent_class",
    "initiator",
    "interaction",
    "tags",
    "refusal",
    "branch",
    "run",
    "policy",
    "actions",
    "hold_tokens",
    "hold_requests",
    "used_tokens",
    "used_requests",
    "os_user",
    "process",
    "container",
)
"""What the hash of an entry covers, in this order; ``prev`` and ``hash`` stand in the table besides."""

LINE = (
    "position",
    "provider",
    "model",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "units",
    "list_cost_nanousd",
    "cost_nanousd",
    "exposure_nanousd",
    "cost_source",
    "price_id",
    "unpriced",
    "flags",
    "charges",
    "response_id",
    "custom_id",
)
"""What the hash of an entry covers of each of its lines; ``entry_seq`` stands first in the table."""

FORMAT = 3
"""Of the entries written now. An entry's hash covers the columns of its own format, so that older ones verify as they are."""

COVERED = {1: (47, 18), 2: (59, 20), FORMAT: (len(ENTRY), len(LINE))}
"""How many columns of an entry and of a line the hash covers, by format. What a format does not have is empty there."""

CLAIMS = ENTRY[49:58]
"""What the client said of itself: good for reports, never for budgets."""

TOKENS = LINE[3:9]
"""The disjoint token kinds (``reasoning_tokens`` is a part of ``output_tokens``)."""

INDEX = {name: position for position, name in enumerate(ENTRY)}
"""Where a column stands in an entry."""

SCOPES = frozenset(
    {*ENTRY[7:19], "model_requested", "model", "client_session", "agent_class", "branch", "run", *ENTRY[67:70]} - {"unmetered"}
)
"""The columns a budget may be scoped by: those that do not change between a hold and its settlement."""


INSERT_ENTRY = f"INSERT INTO entry ({', '.join((*ENTRY, 'prev', 'hash'))})"
INSERT_LINE = f"INSERT INTO line ({', '.join(('entry_seq', *LINE))})"
"""Up to where the values come."""
