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
)
"""What the hash of an entry covers, in this order; ``prev`` and ``hash`` follow in the table."""

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
)
"""What the hash of an entry covers of each of its lines; ``entry_seq`` stands first in the table."""

TOKENS = LINE[3:9]
"""The disjoint token kinds (``reasoning_tokens`` is a part of ``output_tokens``)."""

INDEX = {name: position for position, name in enumerate(ENTRY)}
"""Where a column stands in an entry."""

SCOPES = frozenset({*ENTRY[7:19], "model_requested", "model"} - {"unmetered"})
"""The columns a budget may be scoped by: those that do not change between a hold and its settlement."""


INSERT_ENTRY = f"INSERT INTO entry ({', '.join((*ENTRY, 'prev', 'hash'))})"
INSERT_LINE = f"INSERT INTO line ({', '.join(('entry_seq', *LINE))})"
"""Up to where the values come."""
