"""Several ledgers into one: idempotent, whole, and never from a ledger that does not verify."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.samples import FakeClock, ask_for, change, day_limit, make_call, rows, settled
from tollkeeper.core.errors import LedgerDamaged, LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.merge import merge, seal
from tollkeeper.ledger.queries import report
from tollkeeper.ledger.verify import verify

CENT = 10_000_000


def shard(path: Path, costs: list[int], *, subject: str = "alice", opened: int = 0) -> Path:
    """A ledger with one settled call for each cost, and some that never ended."""
    ledger = Ledger.open(path, FakeClock())
    try:
        for cost in costs:
            call = make_call(subject=subject)
            ledger.do(lambda journal, call=call: journal.admit(ask_for(call, 5 * CENT, day_limit(100 * CENT))))
            ledger.do(lambda journal, call=call, cost=cost: journal.settle(settled(call, cost)))
        for _ in range(opened):
            call = make_call(subject=subject)
            ledger.do(lambda journal, call=call: journal.admit(ask_for(call, CENT, day_limit(100 * CENT))))
    finally:
        ledger.close_now()
    return path


def content(path: Path) -> list[tuple[object, ...]]:
    return rows(path, "SELECT seq, kind, call_id, cost_nanousd, hash FROM entry ORDER BY seq")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9 * CENT), max_size=4), min_size=1, max_size=3), st.data())
def test_merging_any_sources_in_any_order_any_number_of_times_gives_each_call_once(
    tmp_path_factory: pytest.TempPathFactory, costs: list[list[int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    shards = [shard(folder / f"{index}.db", each) for index, each in enumerate(costs)]
    order = data.draw(st.lists(st.sampled_from(shards), max_size=5)) + shards
    target = folder / "all.db"
    for source in order:
        merge(target, source, FakeClock())
    assert verify(target).problem == ""
    total = report(target, by=()).total
    assert (total.calls, total.exposure_nanousd) == (sum(map(len, costs)), sum(map(sum, costs)))


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    source, target = shard(tmp_path / "a.db", [CENT, 2 * CENT]), tmp_path / "all.db"
    first = merge(target, source, FakeClock())
    before = content(target)
    again = merge(target, source, FakeClock())
    assert (first.calls, first.entries, first.known) == (2, 4, 0)
    assert (again.calls, again.entries, again.known) == (0, 0, 4)
    assert content(target) == before


def test_a_later_copy_of_a_source_adds_what_is_new(tmp_path: Path) -> None:
    source, target = shard(tmp_path / "a.db", [CENT]), tmp_path / "all.db"
    merge(target, source, FakeClock())
    shard(source, [3 * CENT])
    assert merge(target, source, FakeClock()).calls == 1
    assert report(target, by=()).total.exposure_nanousd == 4 * CENT


def test_calls_under_way_are_left_until_they_are_over(tmp_path: Path) -> None:
    source, target = shard(tmp_path / "a.db", [CENT], opened=2), tmp_path / "all.db"
    assert merge(target, source, FakeClock()).open_calls == 2
    assert verify(target).open_holds == 0


def test_where_each_row_came_from_stays_on_record(tmp_path: Path) -> None:
    source, target = shard(tmp_path / "shard-3.db", [CENT]), tmp_path / "all.db"
    merge(target, source, FakeClock())
    origin = rows(target, "SELECT source, source_seq, hash FROM origin ORDER BY seq")
    assert [(name, seq, digest) for name, seq, digest in origin] == [
        ("shard-3.db", seq, digest) for seq, digest in rows(source, "SELECT seq, hash FROM entry ORDER BY seq")
    ]


def test_a_source_that_was_changed_is_refused_and_nothing_of_it_is_taken(tmp_path: Path) -> None:
    source, target = shard(tmp_path / "a.db", [CENT]), tmp_path / "all.db"
    change(source, "UPDATE entry SET cost_nanousd = 1 WHERE kind = 'settle'")
    with pytest.raises(LedgerDamaged, match="is not merged"):
        merge(target, source, FakeClock())
    assert not target.exists()


def test_two_stories_of_one_call_are_refused(tmp_path: Path) -> None:
    source, target = shard(tmp_path / "a.db", [CENT]), tmp_path / "all.db"
    merge(target, source, FakeClock())
    change(target, "UPDATE entry SET subject = 'mallory' WHERE kind = 'settle'")
    with pytest.raises(LedgerError, match="another subject"):
        merge(target, source, FakeClock())


def test_a_ledger_is_not_merged_into_itself(tmp_path: Path) -> None:
    source = shard(tmp_path / "a.db", [CENT])
    with pytest.raises(LedgerError, match="into itself"):
        merge(source, source, FakeClock())


def test_a_sealed_ledger_is_one_file_that_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "public"
    folder.mkdir()
    path = shard(folder / "a.db", [CENT])
    seal(path)
    assert rows(path, "PRAGMA journal_mode") == [("delete",)]
    assert verify(path).problem == ""
    assert not list(folder.glob("*-wal"))
