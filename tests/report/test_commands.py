"""The verbs that read the ledger: stdout is data, stderr is narration, exit codes tell."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.samples import FakeClock, ask_for, change, make_call, settled
from report.conftest import Tool
from tollkeeper.core.paths import home
from tollkeeper.ledger.ledger import Ledger


def test_a_report_is_printed_by_what_was_asked_for(tool: Tool, path: Path) -> None:
    code, out, err = tool("report", "--ledger", str(path), "--by", "principal", "--by", "day", "--zone", "UTC")

    assert (code, err) == (0, "")
    assert " alice " in out
    assert "2026-11-23" in out


def test_json_and_csv_are_clean_output(tool: Tool, path: Path) -> None:
    code, out, _ = tool(
        "report", "--ledger", str(path), "--json", "--since", "2026-11-22", "--until", "2026-11-22", "--zone", "UTC"
    )
    assert code == 0
    assert json.loads(out)["total"]["calls"] == 2
    assert json.loads(out)["period"]["until"] == "2026-11-23T00:00:00Z"

    code, out, _ = tool("report", "--ledger", str(path), "--csv")
    assert (code, len(out.splitlines())) == (0, 5)

    code, _, err = tool("report", "--ledger", str(path), "--csv", "--json")
    assert code == 2
    assert "exclude" in err


@pytest.mark.parametrize("verb", ["report", "tail"])
def test_without_a_ledger_the_newcomer_is_told_how_to_start(tool: Tool, verb: str) -> None:
    code, out, err = tool(verb)

    assert (code, out) == (0, "")
    assert "tollkeeper run -- CMD" in err
    assert not home().ledger.exists()


@pytest.mark.parametrize(
    ("arguments", "wanted", "words"),
    [
        (("report", "--ledger", "none.db"), 5, "no ledger at none.db"),
        (("tail", "--ledger", "none.db"), 5, "no ledger at none.db"),
        (("report", "--since", "soon"), 2, '"soon" is not a time'),
        (("report", "--zone", "Mars/Base"), 2, "not a time zone"),
        (("report", "--by", "colour"), 2, "colour"),
        (("show", "01M8ABCD"), 3, "nothing metered yet"),
        (("ledger", "verify"), 3, "nothing metered yet"),
        (("ledger", "verify", "--ledger", "none.db"), 3, "none.db"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tool: Tool, arguments: tuple[str, ...], wanted: int, words: str) -> None:
    code, out, err = tool(*arguments)

    assert (code, out) == (wanted, "")
    assert words in err
    assert "Traceback" not in err


def test_a_ledger_without_refusals_is_not_called_empty(tool: Tool, tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "one.db", FakeClock())
    assert "nothing metered yet" in tool("tail", "--denied", "--ledger", str(tmp_path / "one.db"))[2]
    call = make_call()
    ledger.admit_now(ask_for(call, 10**9))
    ledger.settle_now(settled(call, 10**9))
    ledger.close_now()
    assert tool("tail", "--denied", "--ledger", str(tmp_path / "one.db")) == (0, "", "nothing was refused, or would have been\n")
    assert tool("tail", "-n", "0", "--ledger", str(tmp_path / "one.db")) == (0, "", "")


def test_tail_and_show_lead_to_one_another(tool: Tool, path: Path) -> None:
    _, out, _ = tool("tail", "-n", "2", "--ledger", str(path))
    assert len(out.splitlines()) == 2
    call_id = out.split()[-1]

    code, shown, _ = tool("show", call_id[-6:], "--ledger", str(path))
    assert code == 0
    assert f"call {call_id}" in shown

    _, lines, _ = tool("tail", "--json", "--denied", "--ledger", str(path))
    assert [json.loads(line)["would"] for line in lines.splitlines()] == ["refuse", "refuse"]

    _, whole, _ = tool("show", call_id, "--json", "--ledger", str(path))
    assert json.loads(whole)["call_id"] == call_id


def test_a_sound_ledger_is_called_sound_and_its_head_is_printed(tool: Tool, path: Path) -> None:
    code, out, err = tool("ledger", "verify", "--ledger", str(path))

    assert (code, err) == (0, "")
    assert "sound. 13 entries" in out
    assert len(out.splitlines()[1].split()[1]) == 64


def test_a_damaged_ledger_ends_with_code_5_and_the_bad_row(tool: Tool, path: Path) -> None:
    change(path, "UPDATE entry SET cost_nanousd = 1 WHERE seq = 4")

    code, out, err = tool("ledger", "verify", "--ledger", str(path))
    assert (code, out) == (5, "")
    assert "entry 4 (settle of call" in err

    code, out, _ = tool("ledger", "verify", "--json", "--ledger", str(path))
    assert code == 5
    assert (json.loads(out)["sound"], json.loads(out)["seq"]) == (False, 4)


def test_a_file_that_is_no_ledger_ends_with_code_5(tool: Tool, tmp_path: Path) -> None:
    odd = tmp_path / "odd.db"
    odd.write_bytes(b"something else" * 500)
    assert tool("report", "--ledger", str(odd))[0] == 5

    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE other (x)")
    code, _, err = tool("report", "--ledger", str(tmp_path / "other.db"))
    assert code == 5
    assert "not a ledger" in err


def test_the_ledger_of_this_user_is_where_the_tool_says(tool: Tool) -> None:
    assert tool("ledger", "path")[1].strip() == str(home().ledger)
