"""Every priced line of a range, summed by day and by what it is a charge for: what finance tools want a row of."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from .columns import TOKENS
from .grouping import COST, EXPOSURE, MODEL, calls_sql
from .queries import reading

STEP = 20_000
"""Calls between two words about progress."""

_KEYS = ("day", "principal", "team", "project", "client", "operation", "usage_source", "cost_source", "provider", "model")
_CALLS = (
    f"SELECT seq, call_id, local_day(counted_at / 900000000), subject, trim(groups, ','), project, client, operation, usage_source,"  # noqa: S608
    f" cost_source, provider, {MODEL}, {COST}, {EXPOSURE} FROM ({calls_sql(" AND kind = 'settle'")}) ORDER BY seq"
)
_LINES = (
    f"SELECT provider, model, charges, price_id, unpriced, {', '.join(TOKENS)} FROM line WHERE entry_seq = ? ORDER BY position"  # noqa: S608
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRow:
    """A day's charges of one unit at one rate, for one principal, project, tool and model.

    ``rate_usd`` is None and costs are None where no price is known: ``exposure_nanousd`` is then what budgets count.
    """

    day: str
    principal: str
    team: str
    project: str
    client: str
    operation: str
    usage_source: str
    cost_source: str
    provider: str
    model: str
    unit: str
    rate_usd: Decimal | None
    price_id: str
    quantity: int
    list_cost_nanousd: int | None
    cost_nanousd: int | None
    exposure_nanousd: int
    calls: int


def charges(
    path: Path,
    *,
    since: int | None = None,
    until: int | None = None,
    zone: str = "UTC",
    progress: Callable[[int], None] | None = None,
) -> list[ChargeRow]:
    """The charges from ``since`` to before ``until`` (UTC microseconds) by day of ``zone``, in the order of days and names.

    What a call really cost is divided over its charges in the proportion of their list costs, to the last nano-dollar. Raises
    ``LedgerError``.
    """
    found: dict[tuple[str, ...], list[int | None]] = {}
    with reading(path, zone) as connection:
        corrected = {
            row[0]
            for row in connection.execute("SELECT DISTINCT call_id FROM entry INDEXED BY entry_adjust WHERE kind = 'adjust'")
        }
        values = {"since": since or 0, "until": 2**63 - 1 if until is None else until}
        for number, row in enumerate(connection.execute(_CALLS, values)):
            seq, call_id, *names, provider, model, cost, exposure = row
            lines = connection.execute(_LINES, (_lines_of(connection, call_id, seq) if call_id in corrected else seq,)).fetchall()
            _add(found, tuple(names), lines or [(provider, model, "", None, "", *([0] * len(TOKENS)))], cost, exposure)
            if progress is not None and number % STEP == 0:
                progress(number)
    return [_row(keys, sums) for keys, sums in sorted(found.items())]


def _lines_of(connection: sqlite3.Connection, call_id: str, seq: int) -> int:
    """The entry whose lines are the latest of a call: a correction has lines of its own."""
    found = connection.execute(
        "SELECT max(seq) FROM entry WHERE call_id = ? AND kind = 'adjust' AND EXISTS (SELECT 1 FROM line WHERE entry_seq = seq)",
        (call_id,),
    ).fetchone()[0]
    return int(found or seq)


def _add(
    found: dict[tuple[str, ...], list[int | None]],
    names: tuple[str, ...],
    lines: list[tuple[object, ...]],
    cost: int | None,
    exposure: int,
) -> None:
    parts: list[tuple[tuple[str, ...], int, int | None]] = []
    for provider, model, priced, price_id, unpriced, *tokens in lines:
        line = (*names, str(provider), str(model))
        for unit, quantity, rate, amount in json.loads(str(priced)) if priced else ():
            parts.append(((*line, str(unit), str(rate), str(price_id or "")), int(quantity), int(amount)))
        if not priced:
            units = json.loads(str(unpriced)) if unpriced else ()
            counts = {name: int(str(count)) for name, count in zip(TOKENS, tokens, strict=True)}
            parts += [((*line, str(unit), "", ""), counts.get(str(unit), 0), None) for unit in units or ("calls",)]
    known = [amount or 0 for _, _, amount in parts]
    shares = [None] * len(parts) if cost is None else _divided(cost, known)
    exposures = _divided(exposure, known)
    for place, (keys, quantity, amount) in enumerate(parts):
        sums = found.setdefault(keys, [0, None, None, 0, 0])
        sums[0] = (sums[0] or 0) + quantity
        for position, value in ((1, amount), (2, shares[place]), (3, exposures[place]), (4, 1)):
            if value is not None:
                sums[position] = (sums[position] or 0) + value


def _divided(total: int, weights: list[int]) -> list[int]:
    """``total`` in the proportion of ``weights``, whole numbers that add up to it; the last takes what is left."""
    whole = sum(weights)
    if not weights:
        return []
    shares = [total * weight // whole for weight in weights] if whole else [0] * len(weights)
    shares[-1] += total - sum(shares)
    return shares


def _row(keys: tuple[str, ...], sums: list[int | None]) -> ChargeRow:
    *names, unit, rate, price_id = keys
    try:
        rate_usd = Decimal(rate) if rate else None
    except InvalidOperation:
        rate_usd = None
    return ChargeRow(
        **dict(zip(_KEYS, names, strict=True)),
        unit=unit,
        rate_usd=rate_usd,
        price_id=price_id,
        quantity=sums[0] or 0,
        list_cost_nanousd=sums[1],
        cost_nanousd=sums[2],
        exposure_nanousd=sums[3] or 0,
        calls=sums[4] or 0,
    )
