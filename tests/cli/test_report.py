"""``tollkeeper report``: words, formats, files."""

import json
from pathlib import Path

import pytest

from cli.conftest import Tool
from tollkeeper.ledger.grouping import GROUPINGS
from tollkeeper.report.formats import ALIASES, BINARY, FORMATS


def test_every_word_to_group_by_leads_to_something_and_is_documented() -> None:
    assert set(ALIASES.values()) <= set(GROUPINGS)
    page = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text()
    assert [name for name in GROUPINGS if f"`{name}`" not in page] == []


def test_groupings_may_be_said_with_commas_and_in_other_words(tool: Tool, path: Path) -> None:
    code, out, _ = tool("report", "--ledger", str(path), "--by", "person,model", "--json")
    assert code == 0
    assert json.loads(out)["by"] == ["principal", "model"]
    assert tool("report", "--ledger", str(path), "--by", "who", "--by", "model", "--json")[1] == out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "pesron"), 'cannot group by "pesron"; did you mean person? Known: day, '),
        (("--by", "0000000"), 'cannot group by "0000000"; known: day, '),
        (("--by", "day,hour,model,provider,project"), "4 are the most"),
        (("--json", "--format", "csv"), "exclude each other"),
        (("--format", "pdf"), "pdf"),
        (("-o", "/nowhere/at/all.csv"), "cannot write /nowhere/at/all.csv"),
    ],
)
def test_what_cannot_be_done_is_said(tool: Tool, path: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = tool("report", "--ledger", str(path), *arguments)
    assert code in {2, 3}
    assert out == ""
    assert words in err


@pytest.mark.parametrize("form", sorted(set(FORMATS) - BINARY))
def test_every_format_goes_to_standard_output_or_to_a_file_alike(tool: Tool, path: Path, tmp_path: Path, form: str) -> None:
    arguments = ("report", "--ledger", str(path), "--zone", "UTC", "--by", "day,model", "--format", form, "--width", "100")
    code, out, _ = tool(*arguments)
    assert (code, bool(out)) == (0, True)
    target = tmp_path / "out"
    code, nothing, _ = tool(*arguments, "-o", str(target))
    assert (code, nothing) == (0, "")
    made = "made "
    assert [line for line in target.read_text().splitlines() if made not in line and "as of" not in line] == [
        line for line in out.splitlines() if made not in line and "as of" not in line
    ]


EMPTY = {
    "csv": "model,calls,",
    "focus": "BilledCost,",
    "json": "{",
    "jsonl": "",
    "openmetrics": "# TYPE tollkeeper_cost_usd counter\n",
    "tsv": "model\tcalls\t",
}


@pytest.mark.parametrize("form", sorted(set(FORMATS) - BINARY - {"html", "markdown", "svg", "table"}))
def test_before_the_first_call_a_program_is_given_an_empty_report(tool: Tool, tmp_path: Path, form: str) -> None:
    code, out, err = tool("report", "--format", form)
    assert code == 0
    assert out.startswith(EMPTY[form])
    assert bool(out) == bool(EMPTY[form])
    assert "nothing metered yet" in err
    target = tmp_path / "out"
    assert tool("report", "--format", form, "-o", str(target))[:2] == (0, "")
    assert target.read_text() == out


@pytest.mark.parametrize("form", ["html", "markdown", "svg", "table"])
def test_before_the_first_call_people_are_told_so_and_a_file_is_written_when_one_is_named(
    tool: Tool, tmp_path: Path, form: str
) -> None:
    code, out, err = tool("report", "--format", form)
    assert (code, out) == (0, "")
    assert "nothing metered yet" in err
    target = tmp_path / "out"
    code, out, err = tool("report", "--format", form, "--title", "Nothing", "-o", str(target))
    assert (code, out) == (0, "")
    assert "nothing metered yet" in err
    assert "calls" in target.read_text()


@pytest.mark.parametrize("form", sorted(set(FORMATS) - BINARY))
def test_a_file_that_is_named_is_written_where_no_call_is_in_that_time(tool: Tool, path: Path, tmp_path: Path, form: str) -> None:
    target = tmp_path / "out"
    arguments = ("--since", "2001-01-01", "--until", "2001-01-01", "--format", form, "-o", str(target))
    assert tool("report", "--ledger", str(path), *arguments)[0] == 0
    assert target.exists()


def test_only_the_dearest_rows_are_asked_for_in_every_form_that_has_such_rows(tool: Tool, path: Path) -> None:
    for form in sorted(set(FORMATS) - BINARY - {"focus"}):
        arguments = ("report", "--ledger", str(path), "--by", "day,model", "--top", "1", "--format", form)
        code, out, _ = tool(*arguments)
        assert code == 0
        assert "4 more" in out.replace("&#160;", " "), form
    code, _, err = tool("report", "--ledger", str(path), "--format", "focus", "--top", "1")
    assert code == 2
    assert "--top does not go with focus" in err


def test_days_are_those_of_the_variable_tz(tool: Tool, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    said = json.loads(tool("report", "--ledger", str(path), "--by", "day", "--json")[1])
    assert said["period"]["zone"] == "Pacific/Auckland"
    assert [row["day"] for row in said["rows"]] == ["2026-11-22", "2026-11-23"]  # 10:00 and 11:00 UTC are 23:00 and 00:00 there
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    code, out, err = tool("report", "--ledger", str(path), "--json")
    assert (code, json.loads(out)["period"]["zone"]) == (0, "UTC")
    assert "no zone with a name" in err


def test_an_empty_report_has_the_shape_of_one_that_is_not(tool: Tool, path: Path) -> None:
    empty = json.loads(tool("report", "--by", "person,day", "--json")[1])
    full = json.loads(tool("report", "--by", "person,day", "--json", "--ledger", str(path))[1])
    assert (empty["rows"], empty["total"]["calls"], empty["by"]) == ([], 0, ["principal", "day"])
    assert (list(empty), list(empty["total"])) == (list(full), list(full["total"]))
    assert tool("report", "--csv")[1].splitlines() == tool("report", "--csv", "--ledger", str(path))[1].splitlines()[:1]


def test_the_ending_of_a_file_says_the_format(tool: Tool, path: Path, tmp_path: Path) -> None:
    assert tool("report", "--ledger", str(path), "-o", str(tmp_path / "spend.md"))[0] == 0
    assert (tmp_path / "spend.md").read_text().startswith("<!-- tollkeeper -->")


def test_the_rest_of_many_rows_is_one_row(tool: Tool, path: Path) -> None:
    _, out, _ = tool("report", "--ledger", str(path), "--top", "1", "--json")
    found = json.loads(out)
    assert [row["model"] for row in found["rows"]] == ["gpt-5", "3 more"]
    assert sum(row["calls"] for row in found["rows"]) == found["total"]["calls"]


def test_a_policy_that_cannot_be_read_leaves_the_budgets_out_and_says_so(tool: Tool, path: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "policy.toml").write_text("schema = 9\n")
    code, out, err = tool("report", "--ledger", str(path), "--format", "html")
    assert code == 0
    assert out.startswith("<!DOCTYPE html>")
    assert "budgets are left out" in err
    assert tool("report", "--ledger", str(path), "--format", "html", "--policy", str(tmp_path / "home" / "policy.toml"))[0] == 2
