"""Reports for programs."""

import csv
import io
import json
from pathlib import Path

from ledger.samples import NOW
from tollkeeper.ledger.queries import report, show, tail
from tollkeeper.ledger.rows import Group
from tollkeeper.report.machine import call_object, detail_object, group_object, report_csv, report_object


def no_floats(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(no_floats, value.values()))
    if isinstance(value, list):
        return all(map(no_floats, value))
    return not isinstance(value, float)


def test_the_object_of_a_report_is_versioned_and_exact(path: Path) -> None:
    found = json.loads(json.dumps(report_object(report(path, by=("day", "model"), since=NOW))))

    assert found["schema"] == "tollkeeper.report/1"
    assert found["period"]["since"] == "2026-11-22T10:00:00Z"
    assert (
        found["rows"][0] | {"day": "2026-11-22", "model": "gpt-5", "cost_usd": "1.236567890", "cost_nanousd": 1_236_567_890}
        == (found["rows"][0])
    )
    unpriced = next(row for row in found["rows"] if row["model"] == "new-model")
    assert (unpriced["cost_usd"], unpriced["cost_nanousd"], unpriced["exposure_usd"]) == (None, None, "0.070000000")
    assert [gap["model"] for gap in found["unpriced"]] == ["new-model"]
    assert [gap["reason"] for gap in found["unmetered"]] == ["unknown path"]
    assert no_floats(found)


def test_csv_has_a_row_per_group_and_the_same_figures(path: Path) -> None:
    found = report(path, by=("model", "project"))

    rows = list(csv.DictReader(io.StringIO(report_csv(found))))

    assert len(rows) == len(found.groups)
    assert list(rows[0]) == ["model", "project", *group_object(Group())]
    assert sum(int(row["exposure_nanousd"]) for row in rows) == found.total.exposure_nanousd
    assert {row["model"]: row["cost_usd"] for row in rows}["new-model"] == ""


def test_a_name_in_csv_is_never_a_formula(path: Path) -> None:
    found = report(path)
    object.__setattr__(found.groups[0], "keys", ("=HYPERLINK(1)",))

    assert report_csv(found).splitlines()[1].startswith("'=HYPERLINK(1),")


def test_a_call_as_an_object_keeps_unknown_null(path: Path) -> None:
    calls = {row.model: call_object(row) for row in tail(path)}

    assert calls["new-model"]["cost_usd"] is None
    assert calls["gpt-5-mini"]["cost_usd"] == "0.001000000"
    assert calls["gpt-5-mini"]["verdict"] == "rewrite"
    assert calls["gpt-5-mini"]["counted_at"] == "2026-11-23T10:00:00Z"
    assert all(map(no_floats, calls.values()))


def test_a_call_in_full_can_be_written_as_json(path: Path) -> None:
    found = json.loads(json.dumps(detail_object(show(path, tail(path, last=1)[0].call_id))))

    assert [entry["kind"] for entry in found["entries"]] == ["hold", "settle"]
    assert len(found["entries"][1]["hash"]) == 64
    assert found["entries"][1]["prev"] == found["entries"][0]["hash"]
    assert found["entries"][1]["lines"][0]["output_tokens"] == 20
