"""Reports for people."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from ledger.samples import DAY, NOW
from tollkeeper.ledger.queries import report
from tollkeeper.ledger.rows import Gap, Group, Report, Tokens
from tollkeeper.report.cells import cost, share, tokens
from tollkeeper.report.notes import notes
from tollkeeper.report.table import print_report


def printed(path: Path, width: int, **options: object) -> str:
    stream = io.StringIO()
    print_report(report(path, **options), stream, width)  # type: ignore[arg-type]
    return "\n".join(line.rstrip() for line in stream.getvalue().strip().splitlines())


def test_a_wide_table_shows_everything(path: Path) -> None:
    assert (
        printed(path, 120)
        == """\
model        calls   refused   rewritten   would refuse   input   output   reasoning   unknown cost         cost
 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 gpt-5            4         1           0              1    ~300      ~60         ~15                      ~$1.24
 new-model        1         0           0              0     100       20           5    1 ≤ $0.0700            –
 –                1         0           0              0       –        –           –    1 ≤ $0.0100            –
 gpt-5-mini       1         0           1              0     100       20           5                     $0.0010

 total            7         1           1              1    ~500     ~100         ~25    2 ≤ $0.0800   ~$1.24 + –

from 2026-11-22 10:00 to 2026-11-23 10:00 (UTC) · prices: catalogue 1
usage: 67 % reported by the provider · 17 % counted by us · 17 % not read
1 refused · 1 sent to a cheaper model
observing: a policy that enforces would have refused 1 and sent 0 to a cheaper model
! 1 call not metered: api.openai.com x (unknown path) × 1
! 1 call without a known price, counted as $0.0700: openai/new-model (input_tokens) × 1; see `tollkeeper prices unpriced`"""
    )


def test_a_narrow_table_keeps_what_matters_and_fits(path: Path) -> None:
    shown = printed(path, 80, by=("day",), since=NOW, until=NOW + 2 * DAY)

    table = shown.split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "refused" not in table
    assert " 2026-11-22       2    ~200      ~40        ~$1.24" in table
    assert "from 2026-11-22 10:00 to 2026-11-24 10:00 (UTC)" in shown


@pytest.mark.parametrize("width", [44, 60, 80, 99, 120])
def test_names_stay_whole_while_a_column_of_figures_can_go(path: Path, width: int) -> None:
    """Millions of tokens leave no room for two names at 80 columns: figures go then, the cost last."""
    found = report(path, by=("principal", "model"))
    huge = Tokens(input_tokens=10**9, output_tokens=10**9, cache_read_tokens=10**9)
    groups = tuple(replace(group, keys=("katherine@example.c", "claude-sonnet-4-5-x"), tokens=huge) for group in found.groups)
    stream = io.StringIO()
    print_report(replace(found, groups=groups, total=replace(found.total, tokens=huge)), stream, width)
    lines = [line.rstrip() for line in stream.getvalue().strip("\n").splitlines()]
    rows = [line for line in lines if "claude" in line]
    table = lines[: 1 + next(index for index, line in enumerate(lines) if line.startswith(" total"))]
    assert len(rows) == len(groups)
    assert all("katherine@example.c" in row and "claude-sonnet-4-5-x" in row for row in rows) or width < 60
    assert "cost" in "".join(table)
    assert all(len(line) <= width for line in table)


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("name", ["https://" + "x" * 97, "e" * 512, "名" * 256, "word " * 100])
def test_one_long_name_is_folded_and_takes_no_figures_from_the_table(path: Path, width: int, name: str) -> None:
    """A client chooses it, and it must not hide what everybody else spent."""
    for by in (("model",), ("principal", "model")):
        found = report(path, by=by)
        groups = (replace(found.groups[0], keys=(name, *found.groups[0].keys[1:])), *found.groups[1:])
        stream = io.StringIO()
        print_report(replace(found, groups=groups), stream, width)
        lines = stream.getvalue().splitlines()
        titles = next(line.split() for line in lines if "cost" in line)
        assert {"calls", "input", "output", "cost"} <= set(titles)
        table = lines[: 1 + next(index for index, line in enumerate(lines) if line.startswith(" total"))]
        assert max(map(cell_len, table)) <= width
        assert "…" not in "".join(table)
        assert sum(line.count(name[-1]) for line in table) >= name.count(name[-1])


def test_names_from_clients_are_not_markup() -> None:
    stream = io.StringIO()
    group = Group(keys=("[bold red]x[/] :smile:",), calls=1)
    found = Report(
        by=("model",), since=None, until=None, zone="UTC", groups=(group,), total=group, first_at=None, last_at=None,
        price_sources=(), unpriced=(), unmetered=(), open_calls=0, open_nanousd=0, expired_calls=0,
    )  # fmt: skip

    print_report(found, stream, 100)

    assert "[bold red]x[/] :smile:" in stream.getvalue()


def test_many_gaps_are_counted_after_the_first_five(path: Path) -> None:
    gap = Gap(provider="p", model="m", calls=2, exposure_nanousd=1, first_at=0, last_at=0)
    total = Group(calls=1)
    found = Report(
        by=(), since=None, until=None, zone="UTC", groups=(), total=total, first_at=None, last_at=None, price_sources=(),
        unpriced=tuple(replace(gap, model=f"m{number}") for number in range(7)),
        unmetered=(), open_calls=2, open_nanousd=10**9, expired_calls=1,
    )  # fmt: skip

    lines = notes(found)

    assert lines[0] == "no calls (UTC) · prices: none used"
    assert "2 calls in flight now, $1.00 held" in lines
    assert "! 1 call never came back: cost unknown, not counted" in lines
    assert lines[-1].startswith("! 14 calls without a known price")
    assert "and 2 more" in lines[-1]


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        (Group(), "–"),
        (Group(calls=1, cost_nanousd=0), "$0.00"),
        (Group(billed_calls=1, unpriced_calls=1), "–"),
        (Group(billed_calls=2, unpriced_calls=1, cost_nanousd=10**9), "$1.00 + –"),
        (Group(billed_calls=2, unpriced_calls=2, cost_nanousd=0), "–"),
        (Group(billed_calls=1, estimated_calls=1, cost_nanousd=10**9), "~$1.00"),
    ],
)
def test_unknown_is_a_dash_and_estimated_is_marked(group: Group, shown: str) -> None:
    assert cost(group) == shown


def test_tokens_nobody_read_are_a_dash() -> None:
    assert tokens(0, Group(billed_calls=2, unmetered=1, crashed=1)) == "–"
    assert tokens(0, Group(billed_calls=2, unmetered=1)) == "0"
    assert tokens(1234, Group(billed_calls=1, estimated_calls=1)) == "~1,234"


def test_a_share_is_never_rounded_to_none_or_all() -> None:
    assert [share(part, 1000) for part in (0, 1, 500, 999, 1000)] == ["0 %", "<1 %", "50 %", ">99 %", "100 %"]
    assert share(0, 0) == "0 %"
