"""Calls, admissions and settlements for tests of the ledger, and a look into its file."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal
from hashlib import sha256
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from tollkeeper.core.admission import Admission, Bucket, Candidate, Limit
from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.charge import Bill, Charge, CostSource, Priced, PriceRef
from tollkeeper.core.decision import ALLOWED, Decision
from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import Principal
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.ledger.ledger import Ledger

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOW = 1_795_305_600 * SECOND + 10 * HOUR
"""2026-11-22 10:00 UTC."""
USD = 1_000_000_000

CHAT = Endpoint(
    provider="openai",
    host="api.openai.com",
    path="/v1/chat/completions",
    operation="chat",
    metering=Metering.METERED,
    dialect="openai_chat",
)
FREE = Endpoint(provider="openai", host="api.openai.com", path="/v1/models", operation="models", metering=Metering.FREE)
ODD = Endpoint(
    provider="openai", host="api.openai.com", path="/v1/x", operation="x", metering=Metering.UNMETERED, reason="unknown path"
)
_DOCUMENT = '{"kind":"price","model":"gpt-5","source":"catalogue 1"}'
PRICE = PriceRef(id=sha256(_DOCUMENT.encode()).hexdigest(), document=_DOCUMENT)


class FakeClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def make_call(at: int = NOW, *, subject: str = "alice", endpoint: Endpoint = CHAT, model: str = "gpt-5", **where: str) -> Call:
    return Call(
        id=new_id(at),
        started_at=at,
        endpoint=endpoint,
        ask=Ask(model=model),
        principal=Principal(subject=subject),
        attribution=Attribution(**where),
    )


def day_limit(amount: int, at: int = NOW, *, scope: tuple[tuple[str, str], ...] = (), enforced: bool = True) -> Limit:
    start = at - at % DAY
    return Limit(
        budget="daily",
        bucket=Bucket(key=f"day:{scope}", start_at=start, scope=scope),
        amount_nanousd=amount,
        window="day",
        resets_at=start + DAY,
        zone="UTC",
        enforced=enforced,
    )


def rolling_limit(amount: int, at: int = NOW, *, length: int = 24 * HOUR, scope: tuple[tuple[str, str], ...] = ()) -> Limit:
    return Limit(
        budget="rolling",
        bucket=Bucket(key=f"rolling-{length}:{scope}", start_at=at - length, length_us=length, scope=scope),
        amount_nanousd=amount,
        window="rolling",
        resets_at=None,
        zone="UTC",
    )


def ask_for(
    call: Call, hold: int, *limits: Limit, at: int | None = None, enforce: bool = True, cheaper: Candidate | None = None
) -> Admission:
    first = Candidate(model=call.model, hold_nanousd=hold, limits=limits)
    return Admission(
        call=call,
        candidates=(first, cheaper) if cheaper else (first,),
        enforce=enforce,
        at=call.started_at if at is None else at,
    )


def bill_of(cost: int, *, known: bool = True, model: str = "gpt-5") -> Bill:
    usage = Usage(model=model, input_tokens=100, output_tokens=20, reasoning_tokens=5)
    charge = Charge(unit="input_tokens", quantity=100, rate_usd=Decimal("0.00000125"), cost_nanousd=cost)
    line = Priced(
        usage=usage,
        provider="openai",
        model=model,
        charges=(charge,) if known else (),
        list_cost_nanousd=cost if known else None,
        cost_nanousd=cost if known else None,
        exposure_nanousd=cost,
        source=CostSource.COMPUTED if known else CostSource.CEILING,
        price=PRICE if known else None,
        unpriced=() if known else ("input_tokens",),
    )
    return Bill(lines=(line,))


def settled(
    call: Call,
    cost: int,
    *,
    known: bool = True,
    source: UsageSource = UsageSource.REPORTED,
    outcome: Outcome = Outcome.OK,
    decision: Decision = ALLOWED,
) -> Settlement:
    bill = bill_of(cost, known=known, model=call.model or "gpt-5")
    reading = Reading(source=source, calls=(bill.lines[0].usage,), model=call.model, raw=({"prompt_tokens": 100},))
    return Settlement(
        call=call,
        decision=decision,
        reading=reading,
        bill=bill,
        outcome=outcome,
        status=200,
        ended_at=call.started_at + SECOND,
        first_byte_ms=40,
    )


def nothing_billed(call: Call) -> Settlement:
    return Settlement(call=call, reading=Reading(source=UsageSource.NONE), outcome=Outcome.ERROR, status=400)


def rows(path: Path, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
    """The answer to a query, read by a connection of its own."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query, tuple(values)).fetchall()


def change(path: Path, *statements: str) -> None:
    """Change the file behind the ledger's back, as somebody with access to it can: triggers dropped first."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            connection.execute(statement)


class Turns:
    """For processes that race for one budget: nobody uses it up before each of them has had its first turns of it."""

    def __init__(self, context: BaseContext, processes: int) -> None:
        self._left = context.Value("i", processes)

    def had(self, ledger: Ledger) -> None:
        """I have had mine: be in the way of the others, with calls that cost nothing, until they have had theirs."""
        with self._left.get_lock():
            self._left.value -= 1
        while self._left.value:
            call = make_call()
            ledger.admit_now(ask_for(call, 0))
            ledger.settle_now(settled(call, 0))
