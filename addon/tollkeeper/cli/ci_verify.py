"""``tollkeeper ci verify``: proves from inside the job that the sidecar is the only way out."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from tollkeeper.gate.files import ROOT_CERTIFICATE

from .ci_probes import PROBES, Outcome, Target, try_all
from .ci_state import CiState, public_folder
from .ci_subordinate import subordinate_ids

HOST = "api.openai.com"
NOT_CLOSED = 24
"""Exit code when a way is open, or the sidecar itself could not be reached."""


@click.command()
@click.option("--host", default=HOST, show_default=True, help="AI host to try to reach.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(host: str, as_json: bool) -> None:
    """Try every way round the sidecar and print what was found. Run it as the job's user. Spends nothing.

    Exit code 24 when a way is open.
    """
    public = public_folder(os.environ)
    state = CiState.read(public)
    target = Target(
        host=host, proxy=(state.host, state.port), pid=state.pid, private=Path(state.home), root=public / ROOT_CERTIFICATE
    )  # fmt: skip
    results = try_all(target, (*PROBES, ("subordinate user ids", subordinate_ids)))
    bad = [result for result in results if result.outcome is Outcome.OPEN] or [
        result for result in results[:1] if result.outcome is not Outcome.CLOSED
    ]
    if as_json:
        click.echo(
            json.dumps({"schema": "tollkeeper.ci-verify/1", "closed": not bad, "ways": [asdict(result) for result in results]})
        )
    else:
        width = max(len(result.way) for result in results)
        for result in results:
            click.echo(f"{result.way:<{width}}  {result.outcome.value:<7}  {result.detail}")
        told = (
            "every way that was tried is closed"
            if not bad
            else f"{len(bad)} not closed: {', '.join(result.way for result in bad)}"
        )
        click.echo(f"tollkeeper: {told}", err=True)
    if bad:
        sys.exit(NOT_CLOSED)
