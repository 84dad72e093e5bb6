"""``tollkeeper show``: one call in full."""

import json
import sys
from pathlib import Path

import click

from tollkeeper.core.errors import SetupError
from tollkeeper.core.paths import home

from .report import NOTHING_YET


@click.command()
@click.argument("call")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: every entry as stored.")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")
def command(call: str, as_json: bool, ledger_path: Path | None) -> None:
    """Show one CALL: its id, or the beginning or end of it. Tokens by kind, price line by line, and the rule that decided."""
    from tollkeeper.ledger.queries import show
    from tollkeeper.report.calls import print_detail
    from tollkeeper.report.machine import detail_object

    path = ledger_path or home().ledger
    if ledger_path is None and not path.exists():
        raise SetupError(NOTHING_YET)
    detail = show(path, call)
    if as_json:
        click.echo(json.dumps(detail_object(detail), indent=2, ensure_ascii=False))
    else:
        print_detail(detail, sys.stdout)
