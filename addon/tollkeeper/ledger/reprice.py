"""Pricing again what had no price: corrections are appended, never written over (``tollkeeper ledger reprice``)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tollkeeper.core.call import Ask, Call, Endpoint, Metering
from tollkeeper.core.charge import Bill
from tollkeeper.core.clock import Clock
from tollkeeper.core.usage import Reading, Usage, UsageSource

from .columns import INDEX, TOKENS
from .journal import SELECT_ENTRY, Journal
from .ledger import Ledger
from .row import ASKED_TIER, Row

BATCH = 200
"""Calls per transaction: short enough that a running proxy does not wait."""

type Progress = Callable[[int], None]
"""Told how many calls have been looked at."""

_PENDING = (
    f"{SELECT_ENTRY} WHERE kind = 'settle' AND cost_nanousd IS NULL AND seq > ?"  # noqa: S608 — fixed names
    " AND NOT EXISTS (SELECT 1 FROM entry AS later WHERE later.call_id = entry.call_id AND later.kind = 'adjust')"
    " AND EXISTS (SELECT 1 FROM line WHERE entry_seq = seq) ORDER BY seq LIMIT ?"
)


class Biller(Protocol):
    """What of a price book is needed here."""

    def bill(self, call: Call, reading: Reading) -> Bill:
        """The priced calls of one exchange."""
        ...


@dataclass(frozen=True, slots=True)
class Repricing:
    """What was done. The exposures are those of the priced calls: what counted before, and what counts now."""

    looked_at: int = 0
    priced: int = 0
    cost_nanousd: int = 0
    exposure_before_nanousd: int = 0
    exposure_after_nanousd: int = 0

    @property
    def still_unknown(self) -> int:
        """Calls that have no price yet."""
        return self.looked_at - self.priced


def reprice(path: Path, book: Biller, clock: Clock, progress: Progress | None = None) -> Repricing:
    """Price every settled call of unknown cost with ``book``, at the prices of its own time, from its stored usage.

    A proxy may be running on the same ledger. Raises ``LedgerError``.
    """
    ledger = Ledger.open(path, clock)
    done, after = Repricing(), 0
    try:
        while True:
            batch, after = ledger.do(partial(_reprice_batch, book, after))
            done = _sum(done, batch)
            if progress is not None:
                progress(done.looked_at)
            if batch.looked_at < BATCH:
                return done
    finally:
        ledger.close_now()


def _reprice_batch(book: Biller, after: int, journal: Journal) -> tuple[Repricing, int]:
    journal.flush()
    rows = [list(row) for row in journal.connection.execute(_PENDING, (after, BATCH))]
    done = Repricing(looked_at=len(rows))
    for row in rows:
        after = row[0]
        bill = book.bill(_call(row), _reading(row, _usages(journal, row)))
        cost = bill.cost_nanousd
        if cost is None or not bill.lines:
            continue
        before = row[INDEX["exposure_nanousd"]]
        journal.adjust(_correction(row, bill, cost, journal.at), bill)
        done = _sum(done, Repricing(0, 1, cost, before, bill.exposure_nanousd))
    return done, after


def _correction(settled: Row, bill: Bill, cost_nanousd: int, at: int) -> Row:
    """An adjust entry: its cost is the whole cost (none was known), its exposure the difference to what counted so far."""
    row = list(settled)
    changes: dict[str, Any] = {
        "kind": "adjust",
        "revision": 1,
        "at": at,
        "hold_nanousd": 0,
        "list_cost_nanousd": bill.list_cost_nanousd,
        "cost_nanousd": cost_nanousd,
        "exposure_nanousd": bill.exposure_nanousd - settled[INDEX["exposure_nanousd"]],
        "cost_source": bill.source.value,
        "usage": "",
        "flags": '["repriced"]',
        "openings": "",
        "used_tokens": 0,
    }
    for column, value in changes.items():
        row[INDEX[column]] = value
    return row


def _call(row: Row) -> Call:
    def of(column: str) -> Any:
        return row[INDEX[column]]

    endpoint = Endpoint(provider=of("provider"), host=of("host"), path="", operation=of("operation"), metering=Metering.METERED)
    asked_tier = json.loads(of("terms") or "{}").get(ASKED_TIER)
    ask = Ask(model=of("model") or of("model_requested") or None, streamed=bool(of("streamed")), service_tier=asked_tier)
    return Call(id=of("call_id"), started_at=of("started_at"), endpoint=endpoint, ask=ask)


def _reading(row: Row, calls: tuple[Usage, ...]) -> Reading:
    return Reading(
        source=UsageSource(row[INDEX["usage_source"]]),
        calls=calls,
        model=row[INDEX["model_billed"]] or None,
        terms={name: value for name, value in json.loads(row[INDEX["terms"]] or "{}").items() if name != ASKED_TIER},
    )


def _usages(journal: Journal, row: Row) -> tuple[Usage, ...]:
    """The stored usage.

    A line billed at the call's own model carries no model, as in the first reading: the name asked for may have a price where
    the answered one has none.
    """
    rows = journal.connection.execute(
        f"SELECT model, units, {', '.join(TOKENS)} FROM line WHERE entry_seq = ? ORDER BY position",  # noqa: S608 — fixed names
        (row[0],),
    )
    return tuple(
        Usage(
            model=None if row[INDEX["model_billed"]].endswith(model) else model,
            units=json.loads(units or "{}"),
            **dict(zip(TOKENS, tokens, strict=True)),
        )
        for model, units, *tokens in rows
    )


def _sum(one: Repricing, other: Repricing) -> Repricing:
    return Repricing(
        one.looked_at + other.looked_at,
        one.priced + other.priced,
        one.cost_nanousd + other.cost_nanousd,
        one.exposure_before_nanousd + other.exposure_before_nanousd,
        one.exposure_after_nanousd + other.exposure_after_nanousd,
    )
