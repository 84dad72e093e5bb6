"""``tollkeeper tail``: one line per call as it closes."""

import json
import time
from pathlib import Path

import click

from tollkeeper.core.paths import home
from tollkeeper.ledger.rows import CallRow

from .report import NOTHING_YET

POLL_S = 0.5


EXAMPLES = """\b
tollkeeper tail --follow
tollkeeper tail -n 1000 --json | jq -r .cost_usd"""


@click.command(epilog=EXAMPLES)
@click.option("-n", "last", type=click.IntRange(0, 10_000), default=20, show_default=True, help="How many past calls.")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--denied", is_flag=True, help="Only what was refused, or would have been.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
def command(last: int, follow: bool, denied: bool, as_json: bool, ledger_path: Path | None) -> None:
    """Show the last calls, one line each, and with --follow every further one as it closes."""
    from tollkeeper.ledger.queries import tail

    path = ledger_path or home().ledger
    if not path.exists() and (follow or ledger_path is None):
        click.echo(NOTHING_YET, err=True)
        if not follow:
            return
        while not path.exists():
            time.sleep(POLL_S)
    rows = tail(path, last=last, denied=denied)
    newest = rows or tail(path, last=1)
    if not rows and last and not follow:
        click.echo("nothing was refused, or would have been" if newest else NOTHING_YET, err=True)
    seq = max((row.seq for row in newest), default=0)
    _print(rows, as_json=as_json)
    try:
        while follow:
            time.sleep(POLL_S)
            rows = tail(path, after_seq=seq, denied=denied)
            seq = max((row.seq for row in rows), default=seq)
            _print(rows, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _print(rows: list[CallRow], *, as_json: bool) -> None:
    from tollkeeper.report.calls import call_line
    from tollkeeper.report.machine import call_object

    for row in rows:
        click.echo(json.dumps(call_object(row), ensure_ascii=False) if as_json else call_line(row))
