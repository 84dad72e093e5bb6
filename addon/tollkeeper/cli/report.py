"""``tollkeeper report``: who used what, and what it cost, in every form."""

import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import ConfigError, SetupError, TollkeeperError
from tollkeeper.core.paths import home
from tollkeeper.ledger.grouping import GROUPINGS
from tollkeeper.report.formats import ALIASES, BINARY, FORMATS, format_of

from .progress import progress

if TYPE_CHECKING:
    from tollkeeper.ledger.rows import Report
    from tollkeeper.policy.model import Policy

NOTHING_YET = "nothing metered yet; start with `tollkeeper run -- CMD`, or see it work offline with `tollkeeper demo`"
MAX_KEYS = 4
_FOR_PEOPLE = frozenset({"table", "markdown", "html", "svg"})
"""The other forms are read by programs: where nothing was metered yet they say so in their own way, as an empty report. So does a file
in any form: whoever named one goes on to open it."""

EXAMPLES = """\b
tollkeeper report --by person,model --since month
tollkeeper report --by day --since 7d -o week.html
tollkeeper report --by principal --since month --csv > costs.csv
tollkeeper report --by project --format markdown >> "$GITHUB_STEP_SUMMARY"

Group by: {names}; person or who is principal, tool is client, group is team.""".format(names=", ".join(GROUPINGS))


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the ledger, in which zone."""

    path: Path
    by: tuple[str, ...]
    since: int | None
    until: int | None
    zone: str
    now: int


@click.command(epilog=EXAMPLES)
@click.option("--by", metavar="NAME[,NAME]", multiple=True, help="Group by; several divide further.  [model]")
@click.option("--since", metavar="TIME", help='From: "7d", "36h", "today", "month", "2026-11-01".  [everything]')
@click.option("--until", metavar="TIME", help="Up to; a date or a name means to its end.")
@click.option("--zone", metavar="ZONE", help="Time zone of days and dates, like Europe/Rome.  [this machine's]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How it is written.  [table, or as FILE ends]")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.  [standard output]"
)
@click.option("--top", type=click.IntRange(1, 10_000), metavar="N", help="Only the N dearest rows; the rest are one row.")
@click.option("--title", default="AI spend", show_default=True, help="Heading of markdown, html and svg.")
@click.option("--width", type=click.IntRange(40, 400), help="Columns of the table.  [the terminal's]")
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.option("--csv", "as_csv", is_flag=True, help="Short for --format csv.")
@click.option(
    "--policy", "policy_path", type=click.Path(path_type=Path), help="Budgets to show in html.  [policy.toml of the home]"
)
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
def command(
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    zone: str | None,
    form: str | None,
    output: Path | None,
    top: int | None,
    title: str,
    width: int | None,
    as_json: bool,
    as_csv: bool,
    policy_path: Path | None,
    ledger_path: Path | None,
) -> None:
    """Calls, tokens and costs, grouped. Unknown is –, estimated carries ~, and every gap is named underneath."""
    gc.disable()  # hundreds of thousands of groups that all stay to the end: looking for garbage among them is a third of the time
    chosen = _form(form, output, as_json=as_json, as_csv=as_csv)
    asked = _asked(by, since, until, zone, ledger_path or home().ledger)
    if chosen in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{chosen} is not for a terminal: name a file with -o")
    if chosen == "focus" and top is not None:
        raise click.UsageError("--top does not go with focus: its rows are charges, and a bill has all of them")
    is_new = ledger_path is None and not asked.path.exists()
    if is_new:
        click.echo(NOTHING_YET, err=True)
        if chosen in _FOR_PEOPLE and output is None:
            return
    if chosen == "html":
        written: str | bytes = _html(asked, top, title, policy_path, is_new=is_new)
    elif chosen == "focus":
        written = _focus(asked, is_new=is_new)
    else:
        found = _written(asked, chosen, top, title, width, output, policy_path, is_new=is_new)
        if found is None:
            return
        written = found
    if output is not None:
        _write(output, written)
    elif isinstance(written, bytes):
        sys.stdout.buffer.write(written)
    else:
        click.echo(written, nl=False)


def groupings(by: Sequence[str]) -> tuple[str, ...]:
    """``--by`` as said once or often, with commas or without, in whatever words. Raises ``ConfigError``."""
    found = []
    for said in (word.strip().lower() for part in by for word in part.split(",")):
        name = ALIASES.get(said, said)
        if name not in GROUPINGS:
            from tollkeeper.core.toml_lines import nearest

            near = nearest(name, (*GROUPINGS, *ALIASES))
            raise ConfigError(
                f'cannot group by "{said[:40]}"; {f"did you mean {near}? Known" if near else "known"}: {", ".join(GROUPINGS)}'
            )
        found.append(name)
    if len(names := tuple(dict.fromkeys(found))) > MAX_KEYS:
        raise ConfigError(f"{len(names)} groupings at once: {MAX_KEYS} are the most that can be read")
    return names or ("model",)


def _form(form: str | None, output: Path | None, *, as_json: bool, as_csv: bool) -> str:
    said = [name for name, given in (("json", as_json), ("csv", as_csv), (form, form is not None)) if given and name]
    if len(set(said)) > 1:
        raise click.UsageError("--json, --csv and --format exclude each other")
    return said[0] if said else (format_of(str(output)) if output else None) or "table"


def _asked(by: tuple[str, ...], since: str | None, until: str | None, zone: str | None, path: Path) -> Asked:
    from tollkeeper.report.period import parse_moment, zone_of

    from .zones import local_zone_name

    name = zone or local_zone_name()
    where, now = zone_of(name), system_clock()
    start = parse_moment(since, now, where) if since else None
    end = parse_moment(until, now, where, is_end=True) if until else None
    return Asked(path, groupings(by), start, end, name, now)


def _written(
    asked: Asked,
    form: str,
    top: int | None,
    title: str,
    width: int | None,
    output: Path | None,
    policy: Path | None,
    *,
    is_new: bool,
) -> str | bytes | None:
    """The report in one of the forms that come from its rows alone; None when it was printed, or there is nothing."""
    from tollkeeper.ledger.queries import report
    from tollkeeper.report import machine
    from tollkeeper.report.formats import fold_rest

    if is_new:
        found = _nothing(asked)
    else:
        with progress("summing") as tell:
            found = report(asked.path, by=asked.by, since=asked.since, until=asked.until, zone=asked.zone, progress=tell)
    if top is not None:
        found = fold_rest(found, top)
    if form == "json":
        return json.dumps(machine.report_object(found), indent=2, ensure_ascii=False) + "\n"
    if form in {"csv", "tsv"}:
        return machine.report_csv(found, "," if form == "csv" else "\t")
    if form == "jsonl":
        return machine.report_jsonl(found)
    if form == "parquet":
        from tollkeeper.report.parquet import report_parquet

        return report_parquet(found)
    if form == "openmetrics":
        from tollkeeper.report.openmetrics import report_openmetrics
        from tollkeeper.report.overview import budget_lines

        return report_openmetrics(found, () if is_new else budget_lines(asked.path, _policy(policy), asked.now))
    if form == "markdown":
        from tollkeeper.report.markdown import report_markdown

        return report_markdown(found, title)
    if form == "svg":
        from tollkeeper.report.picture import report_svg

        return report_svg(found, title, asked.now, width or 110)
    if not found.total.calls and not is_new:
        click.echo(NOTHING_YET if asked.since is None and asked.until is None else "no calls in that time", err=True)
        if output is None:
            return None
    return _table(found, output, width)


def _nothing(asked: Asked) -> "Report":
    """The report of a ledger that nobody has made yet."""
    from tollkeeper.ledger.rows import Group, Report

    return Report(
        by=asked.by,
        since=asked.since,
        until=asked.until,
        zone=asked.zone,
        groups=(),
        total=Group(),
        first_at=None,
        last_at=None,
        price_sources=(),
        unpriced=(),
        unmetered=(),
        open_calls=0,
        open_nanousd=0,
        expired_calls=0,
    )


def _table(found: "Report", output: Path | None, width: int | None) -> str | None:
    import io

    from tollkeeper.report.table import print_report

    if output is None:
        print_report(found, sys.stdout, width)
        return None
    stream = io.StringIO()
    print_report(found, stream, width)
    return stream.getvalue()


def _html(asked: Asked, top: int | None, title: str, policy: Path | None, *, is_new: bool) -> str:
    from dataclasses import replace

    from tollkeeper.report.formats import fold_rest
    from tollkeeper.report.html import report_html
    from tollkeeper.report.overview import Overview, read_overview

    if is_new:
        none = _nothing(asked)
        empty = Overview(report=none, days=none, hours=none, teams=none, people=none, models=none)
        return report_html(empty, title, asked.now)
    with progress("summing") as tell:
        overview = read_overview(
            asked.path,
            by=asked.by,
            since=asked.since,
            until=asked.until,
            zone=asked.zone,
            policy=_policy(policy),
            at=asked.now,
            progress=tell,
        )
    if top is not None:
        overview = replace(overview, report=fold_rest(overview.report, top))
    return report_html(overview, title, asked.now)


def _focus(asked: Asked, *, is_new: bool) -> str:
    from tollkeeper.ledger.charges import charges
    from tollkeeper.report.focus import focus_csv

    if is_new:
        return focus_csv((), asked.zone)
    with progress("reading charges") as tell:
        rows = charges(asked.path, since=asked.since, until=asked.until, zone=asked.zone, progress=lambda done: tell(done, 0))
    click.echo("FOCUS columns, an estimate by Tollkeeper; not an invoice", err=True)
    return focus_csv(rows, asked.zone)


def _policy(path: Path | None) -> "Policy | None":
    """The policy whose budgets are shown; None when there is none, or when it cannot be read and was not asked for."""
    from tollkeeper.policy.document import load_policy

    chosen = path or home().policy
    if path is None and not chosen.exists():
        return None
    try:
        return load_policy(chosen)
    except TollkeeperError as error:
        if path is not None:
            raise
        click.echo(f"tollkeeper: budgets are left out: {error}", err=True)
        return None


def _write(output: Path, written: str | bytes) -> None:
    try:
        output.write_bytes(written.encode() if isinstance(written, str) else written)
    except OSError as error:
        raise SetupError(f"cannot write {output}: {error.strerror}") from error
