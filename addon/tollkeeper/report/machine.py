"""Reports for programs: one versioned JSON object, or CSV with one row per group. Money is a string and an integer, never a float."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tollkeeper.core.clock import to_datetime
from tollkeeper.core.money import format_usd_exact
from tollkeeper.ledger.plan_windows import PlanStanding
from tollkeeper.ledger.rows import CallDetail, CallRow, Gap, Group, Report

REPORT_SCHEMA = "tollkeeper.report/1"
ROW_SCHEMA = "tollkeeper.row/1"
CALL_SCHEMA = "tollkeeper.call/1"


def report_object(report: Report) -> dict[str, Any]:
    """The JSON object of a report. Unknown is null."""
    return {
        "schema": REPORT_SCHEMA,
        "by": list(report.by),
        "period": {
            "since": moment(report.since),
            "until": moment(report.until),
            "first_call_at": moment(report.first_at),
            "last_call_at": moment(report.last_at),
            "zone": report.zone,
        },
        "rows": [{**dict(zip(report.by, group.keys, strict=True)), **group_object(group)} for group in report.groups],
        "total": group_object(report.total),
        "price_sources": list(report.price_sources),
        "unpriced": [_gap(gap) for gap in report.unpriced],
        "unmetered": [_gap(gap) for gap in report.unmetered],
        "in_flight": {"calls": report.open_calls, **money("held", report.open_nanousd)},
        "expired_calls": report.expired_calls,
        "plan_windows": [_window(window) for window in report.plan_windows],
    }


def _window(window: PlanStanding) -> dict[str, Any]:
    return {
        "principal": window.subject,
        "plan": window.plan,
        "window": window.name,
        "used_ppm": window.used_ppm,
        "resets_at": moment(window.resets_at),
        "status": window.status,
        "at": moment(window.at),
    }


def group_object(group: Group) -> dict[str, Any]:
    """The figures of a group, flat."""
    figures: dict[str, Any] = {}
    for name, value in asdict(group).items():
        if name == "tokens":
            figures |= value
        elif name.endswith("_nanousd"):
            figures |= money(name.removesuffix("_nanousd"), value)
        elif name != "keys":
            figures[name] = value
    return figures


def report_jsonl(report: Report) -> str:
    """One object per group and line, each with its schema; no total."""
    rows = (
        {"schema": ROW_SCHEMA, **dict(zip(report.by, group.keys, strict=True)), **group_object(group)} for group in report.groups
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def report_csv(report: Report, delimiter: str = ",") -> str:
    """A header and a row per group; unknown is empty. No total, so that sums of the file are right."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", delimiter=delimiter)
    writer.writerow([*report.by, *group_object(Group())])
    for group in report.groups:
        figures = ["" if value is None else value for value in group_object(group).values()]
        writer.writerow([*map(inert, group.keys), *figures])
    return out.getvalue()


def call_object(row: CallRow) -> dict[str, Any]:
    """One closed call, flat."""
    figures: dict[str, Any] = {"schema": CALL_SCHEMA}
    for name, value in asdict(row).items():
        if name == "tokens":
            figures |= value
        elif name.endswith("_nanousd"):
            figures |= money(name.removesuffix("_nanousd"), value)
        elif name.endswith("at"):
            figures[name] = moment(value)
        else:
            figures[name] = value
    return figures


def detail_object(detail: CallDetail) -> dict[str, Any]:
    """Everything of one call, as stored; hashes in hex."""
    entries = []
    for entry in detail.entries:
        shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in entry.items()}
        shown["lines"] = [dict(line) for line in detail.lines.get(entry["seq"], ())]
        entries.append(shown)
    return {"schema": "tollkeeper.entries/1", "call_id": detail.call_id, "entries": entries, "prices": _plain(detail.prices)}


def moment(at: int | None) -> str | None:
    """UTC microseconds as ISO 8601."""
    return None if at is None else to_datetime(at).isoformat().replace("+00:00", "Z")


def money(name: str, nanousd: int | None) -> dict[str, Any]:
    """An amount twice: exact dollars as text, nano-dollars as integer."""
    return {f"{name}_usd": None if nanousd is None else format_usd_exact(nanousd), f"{name}_nanousd": nanousd}


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "provider": gap.provider,
        "model": gap.model,
        "host": gap.host,
        "operation": gap.operation,
        "reason": gap.reason,
        "units": list(gap.units),
        "calls": gap.calls,
        **money("exposure", gap.exposure_nanousd),
        "first_at": moment(gap.first_at),
        "last_at": moment(gap.last_at),
    }


def inert(text: str) -> str:
    """A name that a spreadsheet will not run as a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text


def _plain(prices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {price_id: dict(document) for price_id, document in prices.items()}
