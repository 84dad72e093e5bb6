"""Calls and sums as OTLP, the JSON form of OpenTelemetry's protocol: spans with GenAI names, and counters.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids are hex, 64-bit whole numbers are text. No text of a conversation is
known here, so none can be sent.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from tollkeeper import __version__
from tollkeeper.ledger.rows import CallRow, Group, Report

from .semconv import OTEL, OTEL_COST, OTEL_INPUT, OTEL_METRICS, OTEL_TOKENS, otel_provider

CLIENT_SPAN = 3
STATUS_ERROR = 2
CUMULATIVE = 2

_SCOPE = {"name": "tollkeeper", "version": __version__}


def traces(rows: Iterable[CallRow], resource: Mapping[str, str]) -> dict[str, Any]:
    """An ``ExportTraceServiceRequest`` with a span per call."""
    return {
        "resourceSpans": [
            {"resource": _resource(resource), "scopeSpans": [{"scope": _SCOPE, "spans": [span(row) for row in rows]}]}
        ]
    }


def metrics(report: Report, resource: Mapping[str, str], at: int) -> dict[str, Any]:
    """An ``ExportMetricsServiceRequest``: sums since the first call, by the report's keys. ``at`` is UTC microseconds."""
    start = str((report.since or report.first_at or at) * 1000)
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in OTEL_METRICS}
    for group in report.groups:
        attributes = _attributes(zip(report.by, group.keys, strict=True))
        for name, value in _sums(group):
            if value is not None:
                points[name].append(
                    {"attributes": attributes, "startTimeUnixNano": start, "timeUnixNano": str(at * 1000), "asInt": str(value)}
                )
    found = [
        {
            "name": OTEL_METRICS[name],
            "unit": "{nanousd}" if name == "cost" else "{call}" if name == "calls" else "{token}",
            "sum": {"aggregationTemporality": CUMULATIVE, "isMonotonic": True, "dataPoints": data},
        }
        for name, data in points.items()
        if data
    ]
    return {"resourceMetrics": [{"resource": _resource(resource), "scopeMetrics": [{"scope": _SCOPE, "metrics": found}]}]}


def span(row: CallRow) -> dict[str, Any]:
    """One call. Calls of one interaction share a trace; the same call always has the same ids, so sending twice does no harm."""
    end = row.counted_at + (row.duration_ms or 0) * 1000
    failed = row.outcome in {"error", "cut", "crashed", "refused"}
    names = {name: getattr(row, name) for name in OTEL if hasattr(row, name)}
    names["provider"] = otel_provider(row.provider)
    status: dict[str, Any] = {"code": STATUS_ERROR, "message": row.error or row.outcome} if failed else {}
    tokens = row.tokens
    counts = {
        OTEL_INPUT: tokens.total_input_tokens,
        OTEL_TOKENS["cache_read_tokens"]: tokens.cache_read_tokens,
        OTEL_TOKENS["cache_write_tokens"]: tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens,
        OTEL_TOKENS["output_tokens"]: tokens.output_tokens,
        OTEL_TOKENS["reasoning_tokens"]: tokens.reasoning_tokens,
    }
    read = row.usage_source not in {"unmetered", "none"}
    attributes = _attributes((OTEL[name], value) for name, value in names.items())
    attributes += [_attribute(name, count) for name, count in counts.items() if read and (count or name == OTEL_INPUT)]
    if row.cost_nanousd is not None:
        attributes.append(_attribute(OTEL_COST, row.cost_nanousd))
    return {
        "traceId": sha256(f"trace {row.interaction or row.call_id}".encode()).hexdigest()[:32],
        "spanId": sha256(f"span {row.call_id}".encode()).hexdigest()[:16],
        "name": f"{row.operation} {row.model}".strip(),
        "kind": CLIENT_SPAN,
        "startTimeUnixNano": str(row.counted_at * 1000),
        "endTimeUnixNano": str(end * 1000),
        "attributes": attributes,
        "status": status,
    }


def _sums(group: Group) -> tuple[tuple[str, int | None], ...]:
    tokens = group.tokens
    return (
        ("input", tokens.total_input_tokens),
        ("output", tokens.output_tokens),
        ("cache_read", tokens.cache_read_tokens),
        ("cache_write", tokens.cache_write_5m_tokens + tokens.cache_write_1h_tokens),
        ("reasoning", tokens.reasoning_tokens),
        ("cost", group.cost_nanousd),
        ("calls", group.calls),
    )


def _resource(resource: Mapping[str, str]) -> dict[str, Any]:
    return {"attributes": _attributes({"service.name": "tollkeeper", "service.version": __version__, **resource}.items())}


def _attributes(pairs: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """What is empty or unknown is left out."""
    return [_attribute(OTEL.get(name, name), value) for name, value in pairs if value not in {"", None}]


def _attribute(name: str, value: str | int) -> dict[str, Any]:
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
