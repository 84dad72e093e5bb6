"""Moments and calls for tests of the screen."""

from pathlib import Path

from ledger.samples import FakeClock, ask_for, make_call, settled
from tollkeeper.core.call import Call
from tollkeeper.core.clock import from_datetime
from tollkeeper.core.decision import Verdict
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.rows import CallRow, Group, Tokens

ZONE = "Europe/Rome"


def moment(text: str) -> int:
    from datetime import datetime

    return from_datetime(datetime.fromisoformat(text))


NOW = moment("2026-11-20T17:30+00:00")


def closed(**fields: object) -> CallRow:
    """A call row with nothing remarkable about it but ``fields``."""
    plain = dict.fromkeys(CallRow.__annotations__, "")
    likely = {
        "seq": 1, "at": NOW, "counted_at": NOW, "kind": "settle", "verdict": "allow", "would": "allow", "outcome": "ok",
        "usage_source": "reported", "streamed": True, "status": 200, "hold_nanousd": 0, "list_cost_nanousd": 1, "cost_nanousd": 1,
        "exposure_nanousd": 1, "duration_ms": 1, "first_byte_ms": 1, "repeats": 0, "tokens": Tokens(), "principal": "ada@example.com",
        "model": "gpt-5", "provider": "openai",
    }  # fmt: skip
    return CallRow(**(plain | likely | fields))  # type: ignore[arg-type]


def group(*keys: str, cost: int = 1, calls: int = 1) -> Group:
    return Group(keys=keys, calls=calls, billed_calls=calls, cost_nanousd=cost, exposure_nanousd=cost)


def spend(path: Path, *costs: int, at: int = NOW, known: bool = True, model: str = "gpt-5") -> list[Call]:
    """Write calls into a ledger, as a proxy beside the screen would."""
    clock = FakeClock(at)
    ledger = Ledger.open(path, clock)
    calls = []
    for cost in costs:
        call = make_call(at, subject="ada@example.com", model=model)
        ledger.admit_now(ask_for(call, max(1, cost)))
        ledger.settle_now(settled(call, cost, known=known))
        calls.append(call)
    ledger.close_now()
    return calls


def refuse(path: Path, *, at: int = NOW) -> Call:
    """Write a refusal."""
    from ledger.samples import day_limit

    ledger = Ledger.open(path, FakeClock(at))
    call = make_call(at, subject="ada@example.com")
    admitted = ledger.admit_now(ask_for(call, 10**9, day_limit(1, at)))
    assert admitted.verdict is Verdict.REFUSE
    ledger.close_now()
    return call
