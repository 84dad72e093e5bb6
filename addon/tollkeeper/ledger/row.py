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

from tollkeeper.core.admission import Admission, Admitted
from tollkeeper.core.call import Call, Metering
from tollkeeper.core.charge import Bill, CostSource, Priced
from tollkeeper.core.entry import Kind, Outcome, Settlement
from tollkeeper.core.usage import Reading, UsageSource

from .columns import ENTRY, LINE

GENESIS = bytes(32)
"""``prev`` of the first entry."""

MAX_TEXT = 512
MAX_WORD = 64
MAX_DEPTH = 6
MAX_ITEMS = 400
"""The most values kept of one call's raw usage; Anthropic iterations need some 20 each."""

ASKED_TIER = "asked_service_tier"
"""Among the terms: the tier the client asked for, which is priced when the answer names none."""

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
        text(f",{','.join(sorted(groups))},") if groups else "",
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
        candidate.hold_nanousd,
        0 if refused else None,
        0 if refused else None,
        0,
        None,
        *([""] * 5),
        None,
        None,
        "",
        "",
    ]


def _reason_of(admission: Admission, admitted: Admitted) -> tuple[str, str, str]:
    """Rule, budget and reason of a verdict that is no plain yes: of several budgets without room, the one that resets last."""
    if (objection := admission.objection) is not None:
        return text(objection.rule), "", text(objection.reason)
    if not admitted.blockers:
        return "", "", ""
    budget = max(admitted.blockers, key=lambda standing: standing.resets_at or admission.at).budget
    return text(f"budget.{budget}"), text(budget), ""


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
    ]


def digest(prev: bytes, entry: Sequence[Any], lines: Sequence[Sequence[Any]]) -> bytes:
    """SHA-256 of the hash before and the canonical row: columns joined by U+001F, the entry and its lines by U+001E, in UTF-8.

    NULL is written ``None``. No text holds these two characters, since every text is printable: so no two rows are written alike.
    """
    canonical = "\x1f".join(map(str, entry))
    for line in lines:
        canonical += "\x1e" + "\x1f".join(map(str, line))
    return hashlib.sha256(prev + canonical.encode("utf-8", "surrogatepass")).digest()


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


assert len(ENTRY) == 47 and len(LINE) == 18  # noqa: S101, PT018 — the rows above are lists in this order
