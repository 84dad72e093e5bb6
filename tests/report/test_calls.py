"""One call for people, in one line and in full; and a run in three."""

import io
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from tollkeeper.ledger.queries import show, tail
from tollkeeper.report.calls import call_line, print_detail
from tollkeeper.report.summary import summary_lines


def detail_of(path: Path, model: str) -> str:
    call_id = next(row.call_id for row in tail(path) if row.model == model)
    stream = io.StringIO()
    print_detail(show(path, call_id), stream, 120)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_a_call_is_one_line_with_the_same_fields_always(path: Path) -> None:
    lines = [" ".join(call_line(row, UTC).split()[:-1]) for row in tail(path)]

    assert lines == [
        "10:00:00 ok openai/gpt-5 in 100 out 20 $1.23 1.0 s alice",
        "11:00:00 ok openai/gpt-5 in ~100 out ~20 ~$0.0020 1.0 s bob",
        "10:00:00 ok openai/new-model in 100 out 20 – 1.0 s alice",
        "10:00:00 unmetered openai/x in – out – – – alice",
        "10:00:00 refused openai/gpt-5 in 0 out 0 $0.00 – alice",
        "10:00:00 ok? openai/gpt-5 in 100 out 20 $0.0050 1.0 s alice",
        "10:00:00 rewritten openai/gpt-5-mini in 100 out 20 $0.0010 1.0 s alice",
    ]


def test_every_line_has_as_many_fields(path: Path) -> None:
    rows = tail(path)

    assert {len(call_line(replace(row, model="m"), UTC).split("  ")) > 8 for row in rows} == {True}
    assert all(call_line(row).endswith(row.call_id) for row in rows)


def test_a_call_in_full_tells_decision_tokens_rates_and_their_source(path: Path) -> None:
    shown = detail_of(path, "gpt-5-mini")

    assert "model      gpt-5-mini, asked for gpt-5" in shown
    assert "decision   rewrite by rule budget daily budget daily: no room" in shown
    assert "$0.00000125   $0.0010   computed · catalogue 1" in shown
    assert 'reported   [{"prompt_tokens":100}]' in shown
    assert "first byte after 40 ms, over after 1,000 ms" in shown


def test_a_call_without_a_price_says_so_and_what_it_counts_as(path: Path) -> None:
    shown = detail_of(path, "new-model")

    assert "no known price" in shown
    assert "≤ $0.0700" in shown
    assert "output_tokens" in shown


def test_a_summary_has_few_lines_and_names_what_is_not_known(path: Path) -> None:
    assert summary_lines(path, session="s1") == [
        "2 calls · ~$1.24 · ~200 tokens in, ~40 out",
        "gpt-5 ~$1.24 (2)",
        "details: tollkeeper report --by model --since today",
    ]
    gaps = summary_lines(path, session="s2")
    assert gaps[0] == "4 calls · $0.0060 + – · 300 tokens in, 60 out"
    assert gaps[-1].startswith("! 1 call without a known price")
    assert len(gaps) <= 5


@pytest.mark.parametrize("exists", [True, False])
def test_a_summary_of_nothing_says_so(path: Path, tmp_path: Path, exists: bool) -> None:
    assert summary_lines(path if exists else tmp_path / "none.db", session="other") == ["no AI calls seen"]
