"""Three lines at the end of a run: what was called, what it cost, what is not known."""

from pathlib import Path

from tollkeeper.ledger.queries import summary
from tollkeeper.ledger.rows import Report

from . import cells
from .notes import notes

MODELS = 3


def summary_lines(path: Path, *, since: int | None = None, session: str | None = None) -> list[str]:
    """At most five lines for people about one session, or everything since a moment. Raises ``LedgerError``."""
    if not path.exists():
        return ["no AI calls seen"]
    return lines_of(summary(path, since=since, session=session))


def lines_of(report: Report) -> list[str]:
    """The lines of a report by model."""
    total = report.total
    if not total.calls:
        return ["no AI calls seen"]
    used = total.tokens
    calls = f"{cells.count(total.calls)} call{'' if total.calls == 1 else 's'}"
    lines = [
        f"{calls} · {cells.cost(total)} · {cells.tokens(used.total_input_tokens, total)} tokens in,"
        f" {cells.tokens(used.output_tokens, total)} out"
    ]
    shown = [f"{cells.name(group.keys[0])} {cells.cost(group)} ({group.calls})" for group in report.groups[:MODELS]]
    if len(report.groups) > MODELS:
        shown.append(f"{len(report.groups) - MODELS} more")
    lines.append(" · ".join(shown))
    warnings = [line for line in notes(report) if line.startswith(("!", "observing")) or "refused" in line]
    return [*lines, *(warnings[-3:] or ["details: tollkeeper report --by model --since today"])]
