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
        (("--by", "pesron"), "did you mean person?"),
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
