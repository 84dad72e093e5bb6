"""One line per call, and one call in full."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import tzinfo
from decimal import Decimal
from typing import IO, Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tollkeeper.core.clock import to_datetime
from tollkeeper.core.money import format_usd
from tollkeeper.ledger.columns import CLAIMS, TOKENS
from tollkeeper.ledger.rows import CallDetail, CallRow

from . import cells
from .table import console_for


def call_line(row: CallRow, zone: tzinfo | None = None) -> str:
    """``09:30:12  ok  openai/gpt-5  in 1,200  out 80  $0.0042  1.2 s  alice  01J…``: the same fields in the same order, always."""
    where = f"{row.provider}/{row.model or row.operation or cells.UNKNOWN}"
    total_in = cells.tokens(row.tokens.total_input_tokens, row)
    took = cells.UNKNOWN if row.duration_ms is None else f"{row.duration_ms / 1000:.1f} s"
    parts = [
        f"{to_datetime(row.at).astimezone(zone):%H:%M:%S}",
        f"{_verdict(row):<9}",
        f"{where:<40}",
        f"in {total_in:>9}",
        f"out {cells.tokens(row.tokens.output_tokens, row):>8}",
        f"{cells.call_cost(row):>10}",
        f"{took:>8}",
        row.principal,
        row.call_id,
    ]
    return "  ".join(parts)


def _verdict(row: CallRow) -> str:
    if row.kind == "refuse":
        return "refused"
    if row.verdict == "rewrite":
        return "rewritten"
    if row.usage_source == "unmetered" and row.outcome == "ok":
        return "unmetered"
    return f"{row.outcome}?" if row.would in {"refuse", "rewrite"} and row.verdict == "allow" else row.outcome


def print_detail(detail: CallDetail, stream: IO[str], width: int | None = None) -> None:
    """A call for people: who and where, what was decided, what was used, each line with its price and where that is from."""
    console = console_for(stream, width)
    for part in detail_parts(detail):
        console.print(part)


def detail_parts(detail: CallDetail) -> list[RenderableType]:
    """The same for any screen: its name, the facts, the priced lines, the entries. The detail has one entry at least."""
    last = next((entry for entry in reversed(detail.entries) if entry["kind"] != "adjust"), detail.entries[-1])
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(last):
        facts.add_row(label, Text(value))
    priced = [_lines(entry, lines, detail.prices) for entry in detail.entries if (lines := detail.lines.get(entry["seq"], ()))]
    return [Text(f"call {detail.call_id}", style="bold"), facts, *priced, _entries(detail.entries)]


def _facts(entry: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    groups = entry["groups"].strip(",").replace(",", ", ")
    asked = entry["model_requested"]
    model = entry["model_billed"] or entry["model"]
    who = f"{entry['subject']} ({entry['issuer']}, {entry['channel']}, {entry['assurance']})"
    facts = {
        "principal": who + (f" in {groups}" if groups else ""),
        "from": " · ".join(filter(None, (entry["project"], entry["client"], entry["session"]))),
        "client says": _claims(entry),
        "to": f"{entry['provider']} {entry['operation']} at {entry['host']}{' (streamed)' if entry['streamed'] else ''}",
        "model": f"{model or cells.UNKNOWN}{f', asked for {asked}' if asked and asked != model else ''}",
        "decision": _decision(entry),
        "answer": " · ".join(
            filter(None, (entry["outcome"], f"HTTP {entry['status']}" if entry["status"] else "", entry["error"]))
        ),
        "refused there": entry["refusal"],
        "plan": entry["plan"],
        "usage": entry["usage_source"] + (f" ({entry['unmetered']})" if entry["unmetered"] else ""),
        "terms": ", ".join(f"{name} {value}" for name, value in json.loads(entry["terms"] or "{}").items()),
        "flags": ", ".join(json.loads(entry["flags"] or "[]")),
        "reported": entry["usage"],
        "time": _times(entry),
        "response": entry["response_id"],
    }
    return ((label, value) for label, value in facts.items() if value)


def _claims(entry: Mapping[str, Any]) -> str:
    """What the client said of itself, which nobody has checked."""
    said = [f"{name.replace('_', ' ')} {entry[name]}" for name in ("agent", *CLAIMS) if name != "tags" and entry[name]]
    said += [f"{name} {value}" for name, value in json.loads(entry["tags"] or "{}").items()]
    return ", ".join(said)


def _decision(entry: Mapping[str, Any]) -> str:
    parts = [entry["verdict"]]
    if entry["would"] != entry["verdict"]:
        parts.append(f"(enforcing: {entry['would']})")
    if entry["rule"]:
        parts.append(f"by rule {entry['rule']}")
    if entry["budget"]:
        parts.append(f"budget {entry['budget']}")
    return " ".join(parts) + (f": {entry['reason']}" if entry["reason"] else "")


def _times(entry: Mapping[str, Any]) -> str:
    parts = [f"started {to_datetime(entry['started_at']).isoformat(timespec='milliseconds')}"]
    if entry["first_byte_ms"] is not None:
        parts.append(f"first byte after {entry['first_byte_ms']:,} ms")
    if entry["duration_ms"] is not None:
        parts.append(f"over after {entry['duration_ms']:,} ms")
    return ", ".join(parts)


def _lines(entry: Mapping[str, Any], lines: Iterable[Mapping[str, Any]], prices: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a charge; the model is named where there are several, else it stands above."""
    rows = [(line["model"], *row) for line in lines for row in _charged(line, _price(line, prices))]
    several = len({row[0] for row in rows}) > 1
    title = "priced again later" if entry["kind"] == "adjust" else "charges"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    if several:
        table.add_column("model", overflow="fold")
    table.add_column("unit", no_wrap=True)
    for heading in ("quantity", "rate", "cost"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("price", overflow="fold")
    for row in rows:
        table.add_row(*(row if several else row[1:]))
    return table


def _charged(line: Mapping[str, Any], price: str) -> Iterator[tuple[str, str, str, str, str]]:
    charges = json.loads(line["charges"] or "[]")
    for unit, quantity, rate, cost in charges:
        yield unit, cells.count(quantity), f"${Decimal(rate):f}", format_usd(cost), price
    for unit in TOKENS if not charges else ():
        if line[unit]:
            yield unit, cells.count(line[unit]), cells.UNKNOWN, cells.UNKNOWN, price
    for unit in json.loads(line["unpriced"] or "[]"):
        yield unit, "", cells.UNKNOWN, cells.UNKNOWN, "no known price"
    if line["cost_nanousd"] is None:
        yield "counted as", "", "", f"≤ {format_usd(line['exposure_nanousd'])}", line["cost_source"]


def _price(line: Mapping[str, Any], prices: Mapping[str, Mapping[str, Any]]) -> str:
    document = prices.get(line["price_id"] or "", {})
    parts = [line["cost_source"], str(document.get("source", "")), f"since {document['since']}" if document.get("since") else ""]
    return " · ".join(filter(None, parts))


def _entries(entries: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(title="entries", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("seq", "at (UTC)", "kind"):
        table.add_column(heading, no_wrap=True)
    for heading in ("held", "cost", "counted"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("hash", no_wrap=True)
    for entry in entries:
        cost = cells.UNKNOWN if entry["cost_nanousd"] is None else format_usd(entry["cost_nanousd"])
        table.add_row(
            str(entry["seq"]),
            f"{to_datetime(entry['at']):%Y-%m-%d %H:%M:%S}",
            entry["kind"],
            format_usd(entry["hold_nanousd"]),
            cost if entry["kind"] not in {"hold", "expire"} else "",
            format_usd(entry["exposure_nanousd"]) if entry["kind"] not in {"hold", "refuse"} else "",
            entry["hash"].hex()[:12],
        )
    return table
