"""Markdown, OpenMetrics, OTLP and FOCUS: what leaves us is what they can read, and no name breaks out of its place."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.samples import NOW
from tollkeeper.ledger.charges import charges
from tollkeeper.ledger.queries import report, tail
from tollkeeper.ledger.rows import Group, Report
from tollkeeper.report.focus import focus_row
from tollkeeper.report.markdown import MARKER, escaped, report_markdown
from tollkeeper.report.openmetrics import bounded, report_openmetrics
from tollkeeper.report.otlp import metrics, span, traces
from tollkeeper.report.period import zone_of
from tollkeeper.report.semconv import FOCUS_COLUMNS, OTEL, OTEL_INPUT, focus_meter, focus_unit, otel_provider

EMPTY = Report(
    by=("model",), since=None, until=None, zone="UTC", groups=(), total=Group(), first_at=None, last_at=None, price_sources=(),
    unpriced=(), unmetered=(), open_calls=0, open_nanousd=0, expired_calls=0,
)  # fmt: skip


@given(name=st.text(max_size=80))
def test_no_name_ends_a_cell_or_a_line_of_markdown(name: str) -> None:
    group = Group(keys=(name,), calls=1, cost_nanousd=5, exposure_nanousd=5)
    text = report_markdown(replace(EMPTY, groups=(group, replace(group, keys=("other",))), total=group))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(re.findall(r"\|", table[0]))}


def test_markdown_mentions_nobody_and_runs_nothing() -> None:
    assert escaped("@team `rm` <b> [x](y) *z*") == "@\u200bteam 'rm' \\<b\\> \\[x\\](y) \\*z\\*"


def test_markdown_begins_with_the_mark_by_which_it_is_found_again(path: Path) -> None:
    text = report_markdown(report(path), "spend")
    assert text.startswith(MARKER)
    assert "```mermaid" in text
    assert text.count("```") == 2


def test_openmetrics_ends_as_it_must_and_every_sample_parses(path: Path) -> None:
    lines = report_openmetrics(report(path, by=("provider", "model"))).splitlines()
    assert lines[-1] == "# EOF"
    samples = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? -?\d+(\.\d{9})?', line) for line in samples)
    assert len(samples) == len({line.rpartition(" ")[0] for line in samples})
    assert not any(line.startswith("tollkeeper_cost_usd_total{") and "new-model" in line for line in samples)


@given(names=st.lists(st.text(max_size=6), min_size=1, max_size=30, unique=True), most=st.integers(1, 5))
def test_labels_are_bounded_and_nothing_is_lost(names: list[str], most: int) -> None:
    groups = [Group(keys=(name,), calls=1, exposure_nanousd=place, cost_nanousd=place) for place, name in enumerate(names)]
    kept = bounded(groups, most)
    assert len(kept) <= most + 1
    assert sum(group.calls for group in kept) == len(names)
    assert sum(group.exposure_nanousd for group in kept) == sum(group.exposure_nanousd for group in groups)


def test_a_quote_or_a_line_in_a_label_is_escaped() -> None:
    group = Group(keys=('a"b\\c\nd',), calls=1)
    assert '{model="a\\"b\\\\c\\nd"}' in report_openmetrics(replace(EMPTY, groups=(group,)))


def test_a_span_has_the_names_of_the_conventions_and_no_float(path: Path) -> None:
    rows = {row.model: row for row in tail(path)}
    found = span(rows["gpt-5-mini"])
    attributes = {item["key"]: item["value"] for item in found["attributes"]}
    assert attributes["gen_ai.request.model"] == {"stringValue": "gpt-5"}
    assert attributes["gen_ai.response.model"] == {"stringValue": "gpt-5-mini"}
    assert attributes[OTEL_INPUT] == {"intValue": "100"}
    assert attributes["tollkeeper.cost.nanousd"] == {"intValue": "1000000"}
    assert int(found["endTimeUnixNano"]) > int(found["startTimeUnixNano"])
    assert (len(found["traceId"]), len(found["spanId"])) == (32, 16)
    unknown = {item["key"] for item in span(rows["new-model"])["attributes"]}
    assert "tollkeeper.cost.nanousd" not in unknown
    json.loads(json.dumps(traces(rows.values(), {})), parse_float=pytest.fail)


def test_the_same_call_is_the_same_span_whenever_it_is_sent(path: Path) -> None:
    (row,) = tail(path, last=1)
    assert span(row) == span(row)
    other = replace(row, interaction="one question")
    assert span(other)["traceId"] == span(replace(other, call_id="X"))["traceId"]
    assert span(other)["spanId"] != span(replace(other, call_id="X"))["spanId"]


def test_metrics_are_sums_that_only_grow_from_the_first_call_on(path: Path) -> None:
    found = metrics(report(path, by=("provider", "model")), {"service.name": "x"}, NOW)
    resource = found["resourceMetrics"][0]
    assert {"key": "service.name", "value": {"stringValue": "x"}} in resource["resource"]["attributes"]
    for metric in resource["scopeMetrics"][0]["metrics"]:
        assert metric["sum"]["isMonotonic"]
        assert all(point["startTimeUnixNano"] == str(NOW * 1000) for point in metric["sum"]["dataPoints"])
        assert all(isinstance(point["asInt"], str) for point in metric["sum"]["dataPoints"])


def test_every_attribute_is_of_a_namespace_that_says_whose_it_is() -> None:
    assert all(name.startswith(("gen_ai.", "tollkeeper.", "http.", "error.", "enduser.")) for name in OTEL.values())
    assert otel_provider("google") == "gcp.gemini"
    assert otel_provider("our-own") == "our-own"


def test_focus_rows_have_every_column_and_say_what_they_are(path: Path) -> None:
    rows = [focus_row(row, zone_of("Europe/Rome")) for row in charges(path, zone="Europe/Rome")]
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(FOCUS_COLUMNS))}
    assert {row["x_Estimated"] for row in rows} == {"true"}
    assert {row["ChargePeriodStart"] for row in rows} == {"2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"}
    assert {row["BillingPeriodStart"] for row in rows} == {"2026-10-31T23:00:00Z"}
    known = next(row for row in rows if row["SkuId"] == "openai/gpt-5")
    assert (known["ListUnitPrice"], known["PricingUnit"], known["SkuMeter"]) == ("1.25", "1000000 Tokens", "Input Tokens")
    unknown = next(row for row in rows if row["SkuId"] == "openai/new-model")
    assert (unknown["BilledCost"], unknown["ListCost"], unknown["x_ExposureUsd"]) == ("", "", "0.070000000")
    assert (focus_unit("web_search_requests"), focus_meter("cache_read_tokens")) == ("Requests", "Cache Read Tokens")
