"""``tollkeeper report``: who used what, and what it cost."""

import json
import sys
from pathlib import Path

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.paths import home

NOTHING_YET = "nothing metered yet; start with `tollkeeper run -- CMD`, or see it work offline with `tollkeeper demo`"
GROUPINGS = ("day", "hour", "model", "provider", "principal", "project", "session", "client", "operation", "agent")


EXAMPLES = """\b
tollkeeper report --by day --by model --since 7d
tollkeeper report --by principal --since month --csv > costs.csv"""


@click.command(epilog=EXAMPLES)
@click.option("--by", type=click.Choice(GROUPINGS), multiple=True, help="Group by; give it twice to divide further.  [model]")
@click.option("--since", metavar="TIME", help='From: "7d", "36h", "today", "month", "2026-11-01".  [everything]')
@click.option("--until", metavar="TIME", help="Up to; a date means the end of that day.")
@click.option("--zone", metavar="ZONE", help="Time zone of days and dates, like Europe/Rome.  [this machine's]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, one row per group.")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
def command(
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    zone: str | None,
    as_json: bool,
    as_csv: bool,
    ledger_path: Path | None,
) -> None:
    """Calls, tokens and costs, grouped. Unknown is –, estimated carries ~, and every gap is named underneath."""
    from tollkeeper.ledger.queries import report
    from tollkeeper.report.machine import report_csv, report_object
    from tollkeeper.report.period import local_zone_name, parse_moment, zone_of

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    name = zone or local_zone_name()
    where, now = zone_of(name), system_clock()
    start = parse_moment(since, now, where) if since else None
    end = parse_moment(until, now, where, is_end=True) if until else None
    path = ledger_path or home().ledger
    if ledger_path is None and not path.exists() and not (as_json or as_csv):
        click.echo(NOTHING_YET, err=True)
        return
    found = report(path, by=tuple(dict.fromkeys(by)) or ("model",), since=start, until=end, zone=name)
    if as_json:
        click.echo(json.dumps(report_object(found), indent=2, ensure_ascii=False))
    elif as_csv:
        click.echo(report_csv(found), nl=False)
    elif not found.total.calls:
        click.echo(NOTHING_YET if start is None and end is None else "no calls in that time", err=True)
    else:
        from tollkeeper.report.table import print_report

        print_report(found, sys.stdout)
