"""Several ledgers into one: idempotent, whole, and never from a ledger that does not verify."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.samples import NOW, FakeClock, ask_for, change, day_limit, make_call, nothing_billed, rows, settled
from tollkeeper.core.call import Call
from tollkeeper.core.entry import Settlement
from tollkeeper.core.errors import LedgerDamaged, LedgerError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.merge import merge, merge_all, seal
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


type Ending = Callable[[Call], Settlement]
ENDINGS: list[Ending] = [nothing_billed, lambda call: settled(call, CENT)]


def told_twice(folder: Path, ending: Ending) -> tuple[Path, Path]:
    """A ledger in which a call ended as it did, and a copy made while it was open, whose next opening took it for crashed."""
    whole, copy = folder / "whole.db", folder / "copy.db"
    ledger, call = Ledger.open(whole, FakeClock()), make_call()
    try:
        ledger.admit_now(ask_for(call, 5 * CENT))
        with closing(sqlite3.connect(whole)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("UPDATE hold SET process = 'an earlier boot/of/1/machine'")
            target.commit()
        ledger.settle_now(ending(call))
    finally:
        ledger.close_now()
    Ledger.open(copy, FakeClock()).close_now()
    assert rows(copy, "SELECT kind, outcome FROM entry ORDER BY seq") == [("hold", ""), ("settle", "crashed")]
    return whole, copy


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_copy_made_while_a_call_was_open_does_not_end_it_a_second_time(tmp_path: Path, ending: Ending) -> None:
    sources = told_twice(tmp_path, ending)
    for number, order in enumerate(permutations(sources)):
        target = tmp_path / f"all-{number}.db"
        merge_all(target, order, FakeClock())
        assert verify(target).problem == ""
        ended = "SELECT kind, outcome, exposure_nanousd FROM entry ORDER BY seq"
        assert rows(target, ended) == rows(sources[0], ended), "what was seen, not what the copy had to assume"
        before = content(target)
        assert [one.calls for one in merge_all(target, order, FakeClock())] == [0, 0]
        assert content(target) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_guess_that_was_merged_before_stays_and_is_counted(tmp_path: Path, ending: Ending) -> None:
    whole, copy = told_twice(tmp_path, ending)
    target = tmp_path / "all.db"
    merge(target, copy, FakeClock())
    done = merge(target, whole, FakeClock())
    assert (done.calls, done.guessed) == (0, 1)
    assert verify(target).problem == ""
    assert report(target, by=()).total.exposure_nanousd == 5 * CENT, "counted once, at what was held"


def test_a_crash_that_only_the_copy_knows_of_is_taken(tmp_path: Path) -> None:
    _, copy = told_twice(tmp_path, nothing_billed)
    (done,) = merge_all(tmp_path / "all.db", [copy], FakeClock())
    assert (done.calls, done.entries, done.guessed) == (1, 2, 0)
    assert verify(tmp_path / "all.db").problem == ""


def test_a_call_that_is_open_in_the_target_is_left_to_it(tmp_path: Path) -> None:
    target, copy = tmp_path / "whole.db", tmp_path / "copy.db"
    ledger, call = Ledger.open(target, FakeClock()), make_call()
    try:
        ledger.admit_now(ask_for(call, 5 * CENT, day_limit(100 * CENT)))
        with closing(sqlite3.connect(target)) as source, closing(sqlite3.connect(copy)) as other:
            source.backup(other)
            other.execute("UPDATE hold SET process = 'an earlier boot/of/1/machine'")
            other.commit()
        Ledger.open(copy, FakeClock()).close_now()
        assert merge(target, copy, FakeClock()).open_calls == 1
        assert ledger.settle_now(settled(call, CENT)) is True
    finally:
        ledger.close_now()
    assert verify(target).problem == ""
    assert report(target, by=()).total.exposure_nanousd == CENT


def test_two_ends_that_were_both_seen_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    call = make_call(NOW)
    for path, ending in zip((one, other), ENDINGS, strict=True):
        ledger = Ledger.open(path, FakeClock())
        ledger.admit_now(ask_for(call, 5 * CENT))
        ledger.settle_now(ending(call))
        ledger.close_now()
    merge(tmp_path / "all.db", one, FakeClock())
    with pytest.raises(LedgerError, match=r"ended as settle .*, in the target as void"):
        merge(tmp_path / "all.db", other, FakeClock())
    assert verify(tmp_path / "all.db").problem == ""


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
