"""``tollkeeper ci settle``: the one thing that a locked job may ask of root — stop the sidecar, and lay a copy of its ledger open.

It takes no option and reads nothing that the job can write, so that a sudo rule for it gives away nothing else.
"""

import json
import os
from pathlib import Path

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.paths import home

from .ci_state import CiState, public_folder
from .process import ask_status, read_state
from .stopping import stop_process

COPY, SETTLED = "ledger.db", "settled.json"


@click.command(hidden=True)
def command() -> None:
    """Stop the sidecar and copy its ledger into the public folder."""
    settle(public_folder(os.environ))


def settle(public: Path) -> None:
    """As the command; doing it again does nothing. Raises ``GateError`` when the proxy does not end."""
    from tollkeeper.ledger.ledger import Ledger
    from tollkeeper.ledger.merge import merge, seal

    state = CiState.read(public)
    running = read_state()
    status = (ask_status(running) or {}) if running is not None else {}
    ledger = Path(str((running or {}).get("ledger") or state.ledger or home().ledger))
    if running is not None:
        stop_process(int(running["pid"]))
    elif (public / SETTLED).exists():
        return
    elif ledger.exists():
        Ledger.open(ledger, system_clock).close_now()  # charges what the calls of a killed process held
    if ledger.exists():
        (public / COPY).unlink(missing_ok=True)
        merge(public / COPY, ledger, system_clock)
        seal(public / COPY)
        (public / COPY).chmod(0o644)
    told = {"refused_connections": int(status.get("refused_connections", 0)), "was_running": running is not None}
    (public / SETTLED).write_text(json.dumps(told))
    (public / SETTLED).chmod(0o644)
