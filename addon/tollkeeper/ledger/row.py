"""Values to rows: the only place that knows which fact goes into which column, and how a row is hashed.

Every text is bounded and printable, and the provider's usage keeps numbers and short words only, so that no prompt, key or
terminal escape can reach the file even through a broken dialect.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from tollkeeper.core.admission import Admission, Admitted, Candidate
from tollkeeper.core.call import Call, Metering
from tollkeeper.core.charge import Bill, CostSource, Priced
from tollkeeper.core.decision import Verdict
from tollkeeper.core.entry import Kind, Outcome, Settlement
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.policy.decide import last_to_reset
from tollkeeper.policy.facts import kept_labels

from .columns import COVERED, ENTRY, FORMAT, INDEX, LINE
from .quantities import requests_of, tokens_of

GENESIS = bytes(32)
"""``prev`` of the first entry."""

MAX_TEXT = 512
MAX_GROUPS_TEXT = 4096
MAX_WORD = 64
MAX_DEPTH = 6
MAX_ITEMS = 400
"""The most values kept of one call's raw usage; Anthropic iterations need some 20 each."""

ASKED_TIER = "asked_service_tier"
"""Among the terms: the tier the client asked for, which is priced when the answer names none."""

_FORMAT = INDEX["format"]
_WORD = re.compile(r"[A-Za-z0-9_.:/+-]{0,64}\Z")

type Row = list[Any]

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""Canonical JSON: no spaces, keys in the order given, UTF-8."""


def text(value: str | None) -> str:
    """Printable text of at most 512 characters; what is not printable becomes U+FFFD."""
    if not value:
        return ""
    if len(value) <= MAX_TEXT and value.isprintable():
        return value
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:MAX_TEXT])


@lru_cache(maxsize=4096)
def word(value: str) -> str:
    """A name or code: letters, digits and ``_.:/+-``, at most 64; anything else may be text and is dropped."""
    return value if _WORD.match(value) else "…"


def who_and_where(call: Call) -> Row:
    """The columns ``subject`` to ``streamed``."""
    principal, attribution, endpoint = call.principal, call.attribution, call.endpoint
    groups = principal.groups
    return [
        text(principal.subject),
        text(principal.issuer),
        text(principal.channel),
        principal.assurance.value,
        _groups(groups) if groups else "",
        text(attribution.project),
        text(attribution.client),
        text(attribution.session),
        text(attribution.agent),
        text(endpoint.provider),
        text(endpoint.host),
        text(endpoint.operation),
        text(endpoint.reason) if endpoint.metering is Metering.UNMETERED else "",
        text(call.model),
        int(call.ask.streamed),
    ]


def _groups(groups: frozenset[str]) -> str:
    """``,a,b,``: more of it than of other texts, since what is cut off is a group that a budget misses."""
    return "".join(f",{text(group.replace(',', ' '))}" for group in sorted(groups))[: MAX_GROUPS_TEXT - 1] + ","


def claims_of(call: Call) -> Row:
    """The columns ``format`` to ``tags``: which plan pays, and what the client said of itself."""
    claimed = call.attribution
    return [
        FORMAT,
        text(call.plan),
        text(claimed.client_session),
        text(claimed.client_project),
        text(claimed.account),
        text(claimed.end_user),
        text(claimed.parent_agent),
        text(claimed.agent_class),
        text(claimed.initiator),
        text(claimed.interaction),
        encode({text(name): text(value) for name, value in kept_labels(claimed.tags)}) if claimed.tags else "",
    ]


def _process_of(call: Call) -> Row:
    """The columns ``os_user`` to ``container``: what the kernel knows of the other end."""
    origin = call.attribution
    return [text(origin.os_user), text(origin.process), text(origin.container)]


def hold_row(admission: Admission, admitted: Admitted, identity: Row, at: int) -> Row:
    """An entry of kind hold, or refuse when nothing was chosen. ``seq`` and ``buckets`` are filled in by the journal."""
    call, refused = admission.call, admitted.chosen is None
    candidate = admission.candidates[admitted.chosen or 0]
    return [
        0,
        "refuse" if refused else "hold",
        call.id,
        0,
        at,
        admission.at,
        call.started_at,
        *identity,
        text(candidate.model),
        "",
        admitted.verdict.value,
        admitted.would.value,
        *_reason_of(admission, admitted),
        None,
        "refused" if refused else "",
        "none" if refused else "",
        "free" if refused else "",
        candidate.hold_nanousd if refused else admitted.hold_nanousd,
        0 if refused else None,
        0 if refused else None,
        0,
        None,
        *([""] * 5),
        None,
        None,
        "",
        "",
        *claims_of(call),
        "",
        text(call.attribution.branch),
        text(call.attribution.run),
        word(admission.policy),
        _actions(candidate, admitted),
        candidate.hold_tokens if refused else admitted.hold_tokens,
        candidate.requests,
        0,
        0,
        *_process_of(call),
    ]


def blank_row() -> Row:
    """An entry that says nothing yet, in the order of ``columns.ENTRY``."""
    row: Row = [""] * len(ENTRY)
    for column in _NUMBERS:
        row[INDEX[column]] = 0
    for column in _UNKNOWN:
        row[INDEX[column]] = None
    row[_FORMAT] = FORMAT
    return row


_NUMBERS = (
    "seq", "revision", "at", "counted_at", "started_at", "streamed", "hold_nanousd", "exposure_nanousd", "hold_tokens",
    "hold_requests", "used_tokens", "used_requests",
)  # fmt: skip
_UNKNOWN = (
    "status", "list_cost_nanousd", "cost_nanousd", "provider_cost_nanousd", "duration_ms", "first_byte_ms",
)  # fmt: skip


def _actions(candidate: Candidate, admitted: Admitted) -> str:
    """What was done to the call besides its model: what it was capped at, where it was sent, what it was warned of."""
    found: dict[str, Any] = {}
    if admitted.verdict is Verdict.REWRITE:
        target = candidate.target
        found = {
            "max_output_tokens": admitted.clamp_output_tokens,
            "effort": word(candidate.effort) if candidate.effort else None,
            "provider": word(target.provider) if target is not None and target.provider else None,
            "host": text(target.host) if target is not None and target.host else None,
        }
    if admitted.warned:
        found["warned"] = [[text(warned.standing.named_rule), warned.percent] for warned in admitted.warned[:16]]
    found = {name: value for name, value in found.items() if value is not None}
    return encode(found) if found else ""


def _reason_of(admission: Admission, admitted: Admitted) -> tuple[str, str, str]:
    """Rule, budget and reason of a verdict that is no plain yes: of several budgets without room, the one that resets last."""
    if (objection := admission.objection) is not None:
        return text(objection.rule), "", text(objection.reason)
    if not admitted.blockers:
        candidate = admission.candidates[admitted.chosen or 0]
        return text(candidate.rule), "", text(candidate.reason)
    standing = last_to_reset(admission, admitted.blockers)
    return text(standing.named_rule), text(standing.budget), ""


class Sums(NamedTuple):
    """What a settlement does to the money. Costs are None when unknown."""

    kind: Kind
    list_cost_nanousd: int | None
    cost_nanousd: int | None
    exposure_nanousd: int
    source: CostSource
    is_unread: bool = False
    """Something may have been billed and nobody said how much: the cost is unknown, and the hold counts in full."""


def sums_of(settlement: Settlement) -> Sums:
    """The sums of a bill, and the kind of entry: refuse when the call never left, void when nothing was billed, else settle."""
    bill = settlement.bill
    if len(bill.lines) == 1 and bill.provider_cost_nanousd is None:  # nearly every call: the properties walk the lines four times
        line = bill.lines[0]
        exposure, costs = line.exposure_nanousd, (line.list_cost_nanousd, line.cost_nanousd, line.exposure_nanousd, line.source)
    else:
        exposure, costs = bill.exposure_nanousd, (bill.list_cost_nanousd, bill.cost_nanousd, bill.exposure_nanousd, bill.source)
    if settlement.outcome is Outcome.REFUSED:
        return Sums(Kind.REFUSE, *costs)
    nothing = settlement.reading.source is UsageSource.NONE or settlement.call.endpoint.metering is Metering.FREE
    if nothing and exposure == 0:
        return Sums(Kind.VOID, *costs)
    if not bill.lines and bill.provider_cost_nanousd is None:
        return Sums(Kind.SETTLE, None, None, 0, CostSource.CEILING, is_unread=True)
    return Sums(Kind.SETTLE, *costs)


def closing_row(settlement: Settlement, sums: Sums, identity: Row, at: int, extra: Iterable[str] = ()) -> Row:
    """An entry of kind settle, void or refuse, as the settlement tells it; the journal adds what the hold knows."""
    call, decision, reading, bill = settlement.call, settlement.decision, settlement.reading, settlement.bill
    billed = reading.model or (bill.lines[0].model if bill.lines else None)
    is_settled = sums.kind is Kind.SETTLE
    return [
        0,
        sums.kind.value,
        call.id,
        0,
        at,
        call.started_at,
        call.started_at,
        *identity,
        text(decision.model or call.model),
        text(billed),
        decision.verdict.value,
        decision.would.value,
        text(decision.rule),
        text(decision.standing.budget) if decision.standing else "",
        text(decision.reason),
        settlement.status,
        settlement.outcome.value,
        reading.source.value,
        sums.source.value,
        0,
        sums.list_cost_nanousd,
        sums.cost_nanousd,
        sums.exposure_nanousd,
        bill.provider_cost_nanousd,
        text(reading.response_id),
        _terms(reading.terms, call.ask.service_tier),
        raw_usage(reading),
        _flags((*reading.flags, *bill.flags, *extra)),
        word(reading.error) if reading.error else "",
        max(0, settlement.ended_at - call.started_at) // 1000 if settlement.ended_at else None,
        settlement.first_byte_ms,
        "",
        "",
        *claims_of(call),
        word(reading.refusal) if reading.refusal else "",
        text(call.attribution.branch),
        text(call.attribution.run),
        "",
        "",
        0,
        0,
        tokens_of(settlement) if is_settled else 0,
        requests_of(call) if is_settled else 0,
        *_process_of(call),
    ]


def line_rows(bill: Bill) -> list[Row]:
    """The priced lines of a bill, in the order of ``columns.LINE``."""
    return [_line(position, line) for position, line in enumerate(bill.lines)]


def _line(position: int, line: Priced) -> Row:
    usage = line.usage
    return [
        position,
        text(line.provider),
        text(line.model),
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        encode({word(name): quantity for name, quantity in usage.units.items()}) if usage.units else "",
        line.list_cost_nanousd,
        line.cost_nanousd,
        line.exposure_nanousd,
        line.source.value,
        line.price.id if line.price else None,
        _flags(line.unpriced),
        _flags(line.flags),
        encode([[charge.unit, charge.quantity, str(charge.rate_usd), charge.cost_nanousd] for charge in line.charges])
        if line.charges
        else "",
        text(usage.response_id),
        text(usage.custom_id),
    ]


def digest(prev: bytes, entry: Sequence[Any], lines: Sequence[Sequence[Any]]) -> bytes:
    """SHA-256 of the hash before and the canonical row: columns joined by U+001F, the entry and its lines by U+001E, in UTF-8.

    NULL is written ``None``. No text holds these two characters, since every text is printable: so no two rows are written alike.
    """
    canonical = "\x1f".join(map(str, entry))
    for line in lines:
        canonical += "\x1e" + "\x1f".join(map(str, line))
    return hashlib.sha256(prev + canonical.encode("utf-8", "surrogatepass")).digest()


def digest_as_written(prev: bytes, entry: Sequence[Any], lines: Sequence[Sequence[Any]]) -> bytes | None:
    """``digest`` over the columns of the entry's own format; None when there is no such format, or it has more than its columns."""
    covered = COVERED.get(entry[_FORMAT])
    if covered is None:
        return None
    columns, line_columns = covered
    if any(value for place, value in enumerate(entry[columns:], columns) if place != _FORMAT):
        return None
    if any(any(line[line_columns:]) for line in lines):
        return None
    return digest(prev, entry[:columns], [line[:line_columns] for line in lines])


def _flags(names: Iterable[str]) -> str:
    kept = [word(name) for name in names]
    return encode(kept[:32]) if kept else ""


def _terms(terms: Mapping[str, str], asked_tier: str | None) -> str:
    if not terms and asked_tier is None:
        return ""
    kept = {word(name): word(str(value)) for name, value in list(terms.items())[:16]}
    if asked_tier is not None:
        kept[ASKED_TIER] = word(asked_tier)
    return encode(kept)


def raw_usage(reading: Reading) -> str:
    """The provider's usage objects with everything but numbers and short words taken out; empty when there are none."""
    if not reading.raw:
        return ""
    budget = [MAX_ITEMS]
    return encode([_counts(document, 0, budget) for document in reading.raw])


def _counts(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    kind = type(value)
    if kind is int:
        return value if -(2**63) <= value < 2**63 else None
    if kind is bool or value is None:
        return value
    if budget[0] < 0 or depth > MAX_DEPTH:
        return None
    if kind is str:
        return word(value)
    if isinstance(value, Mapping):
        return {word(str(name)): _counts(item, depth + 1, budget) for name, item in value.items() if budget[0] > 0}
    if isinstance(value, (list, tuple)):
        return [_counts(item, depth + 1, budget) for item in value if budget[0] > 0]
    return str(value)[:MAX_WORD] if isinstance(value, (float, Decimal)) else None


assert len(ENTRY) == 70 and len(LINE) == 20  # noqa: S101, PT018 — the rows above are lists in this order
