"""What a job says at its end, in every form."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.ledger.rows import Group, Report, Tokens
from tollkeeper.report.ci import (
    EXIT_CODES,
    SCHEMA,
    Finding,
    Step,
    Summary,
    annotations,
    as_object,
    baseline_of,
    change_in_words,
    code_quality,
    exit_code,
    findings,
    junit,
    markdown,
)

USD = 1_000_000_000


def group(cost: int = USD, *, calls: int = 2, model: str = "gpt-5", **more: int) -> Group:
    figures = {"calls": calls, "billed_calls": calls, "reported": calls, "cost_nanousd": cost, "exposure_nanousd": cost, **more}
    return Group(keys=(model,), tokens=Tokens(input_tokens=4000, output_tokens=100), **figures)  # type: ignore[arg-type]


def summary(total: Group | None = None, **more: object) -> Summary:
    found = total or group()
    report = Report(
        by=("model",), since=None, until=None, zone="UTC", groups=(found,), total=replace(found, keys=()), first_at=None, last_at=None,
        price_sources=(), unpriced=(), unmetered=(), open_calls=0, open_nanousd=0, expired_calls=0,
    )  # fmt: skip
    return Summary(job={"platform": "github", "branch": "feature", "base": "main"}, by_model=report, **more)  # type: ignore[arg-type]


def test_a_quiet_job_passes() -> None:
    found = findings(summary())
    assert found == {}
    assert exit_code(found, Finding) == 0
    assert "✅" in markdown(summary(), found)


@pytest.mark.parametrize(
    ("total", "finding"),
    [(group(refused=1), Finding.REFUSED), (group(unpriced_calls=1), Finding.UNPRICED), (group(crashed=1), Finding.UNMETERED)],
)
def test_each_finding_has_an_exit_code_of_its_own_and_fails_only_where_asked(total: Group, finding: Finding) -> None:
    found = findings(summary(total))
    assert set(found) == {finding}
    assert exit_code(found, ()) == 0
    assert exit_code(found, set(Finding) - {finding}) == 0
    assert exit_code(found, (finding,)) == EXIT_CODES[finding]


def test_more_than_was_allowed_is_over() -> None:
    assert Finding.OVER in findings(summary(), allowed_nanousd=USD - 1)
    assert Finding.OVER not in findings(summary(), allowed_nanousd=USD)


def test_a_connection_stopped_at_the_sidecar_is_refused() -> None:
    assert "3 connections" in findings(summary(refused_connections=3))[Finding.REFUSED]


def test_the_change_is_against_the_median_of_the_base_branch() -> None:
    words = change_in_words(summary(base_nanousd=(USD // 2, USD // 4, 9 * USD)))
    assert words.startswith("+$0.5000 (+100 %) against $0.5000, the median of 3 runs of main")
    assert "nothing is known" in change_in_words(summary())


def test_the_baseline_takes_artefacts_of_the_base_branch_only() -> None:
    mine = json.dumps(as_object(replace(summary(), job={"branch": "main"}), {}))
    other = json.dumps(as_object(summary(), {}))
    assert baseline_of([mine, other, "{}", "not json", "[]", mine], "main") == (USD, USD)


@pytest.mark.parametrize("exposure", ["1e999", "-1e999", "NaN", str(2**63), "-1", "[]", "null", '"x"'])
def test_a_cost_that_none_can_be_is_passed_over(exposure: str) -> None:
    mine = json.dumps(as_object(replace(summary(), job={"branch": "main"}), {}))
    odd = f'{{"schema": "{SCHEMA}", "job": {{"branch": "main"}}, "total": {{"exposure_nanousd": {exposure}}}}}'
    assert baseline_of([odd, mine], "main") == (USD,)


@given(st.lists(st.text(max_size=200), max_size=5))
def test_no_artefact_breaks_the_baseline(texts: list[str]) -> None:
    assert baseline_of(texts, "main") == ()


@given(st.text(min_size=1, max_size=60))
def test_a_name_from_outside_is_never_markup(name: str) -> None:
    total = group(model=name)
    text = markdown(summary(total, steps=(Step(name, total),)), {Finding.UNPRICED: name})
    assert "<script" not in text
    assert text.count("\n| ") == text.count(" |\n")
    ET.fromstring(junit(summary(total), {Finding.UNPRICED: name}, Finding))
    for line in annotations("github", {Finding.UNPRICED: name}, ()):
        assert line.startswith("::warning title=Tollkeeper (unpriced)::")
        assert "\n" not in line
    json.dumps(code_quality({Finding.UNPRICED: name}, ()))


def test_junit_fails_what_the_job_fails_on() -> None:
    found = {Finding.OVER: "x", Finding.REFUSED: "y"}
    suite = ET.fromstring(junit(summary(), found, (Finding.OVER,))).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("4", "1")


def test_annotations_are_errors_where_the_job_fails_and_warnings_elsewhere() -> None:
    found = {Finding.OVER: "50 % too much"}
    assert annotations("github", found, (Finding.OVER,)) == ["::error title=Tollkeeper (over)::50 %25 too much"]
    assert annotations("gitlab", found, ()) == ["tollkeeper: warning: over: 50 % too much"]
