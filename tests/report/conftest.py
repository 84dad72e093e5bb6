"""A ledger with one call of every kind, written once by its own clock: every figure below is known. And the command as a user calls it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.samples import DAY, HOUR, NOW, ODD, FakeClock, ask_for, day_limit, make_call, settled
from tollkeeper.cli.entry import main
from tollkeeper.core.admission import Candidate
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.entry import Settlement
from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.ledger.ledger import Ledger

MILLION = 1_000_000

type Tool = Callable[..., tuple[int, str, str]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> Path:
    """Two days: priced, estimated, unpriced, unmetered, rewritten, refused, and one that would have been refused."""
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path, clock)
    limit = day_limit(10**12)

    def run(settlement: Settlement) -> None:
        clock.now = settlement.call.started_at
        ledger.admit_now(ask_for(settlement.call, 10 * MILLION, limit))
        ledger.settle_now(settlement)

    run(settled(make_call(NOW, project="web", session="s1"), 1_234_567_890))
    run(settled(make_call(NOW + HOUR, project="web", session="s1", subject="bob"), 2 * MILLION, source=UsageSource.COUNTED))
    run(settled(make_call(NOW + DAY, model="new-model", session="s2"), 70 * MILLION, known=False))
    run(
        Settlement(call=make_call(NOW + DAY, endpoint=ODD, model="", session="s2"), reading=Reading(source=UsageSource.UNMETERED))
    )
    ledger.admit_now(ask_for(make_call(NOW + DAY), 10**13, limit))
    observed = make_call(NOW + DAY, session="s2")
    ledger.admit_now(ask_for(observed, 10**13, limit, enforce=False))
    ledger.settle_now(settled(observed, 5 * MILLION))
    rewritten = make_call(NOW + DAY, session="s2")
    ledger.admit_now(ask_for(rewritten, 10**13, limit, cheaper=Candidate(model="gpt-5-mini", hold_nanousd=1, limits=(limit,))))
    decision = Decision(verdict=Verdict.REWRITE, would=Verdict.REWRITE, rule="budget daily", reason="no room", model="gpt-5-mini")
    settlement = settled(rewritten, MILLION, decision=decision)
    ledger.settle_now(replace(settlement, reading=replace(settlement.reading, model="gpt-5-mini")))
    ledger.close_now()
    return path


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Run ``tollkeeper`` with arguments: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr("sys.argv", ["tollkeeper", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run
