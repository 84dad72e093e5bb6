"""``tollkeeper stop``: ends the background proxy after a clean drain."""

import contextlib
import os
import signal
import time

import click

from tollkeeper.core.errors import GateError

from .process import POLL_SECONDS, read_state


@click.command()
@click.option("--timeout-seconds", default=30.0, show_default=True, help="How long to wait for open streams.")
def command(timeout_seconds: float) -> None:
    """Stop the proxy: open streams finish or are settled as partial, nothing stays held."""
    state = read_state()
    if state is None:
        click.echo("tollkeeper: not running", err=True)
        return
    pid = int(state["pid"])
    with contextlib.suppress(ProcessLookupError):  # ended just now
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    while read_state() is not None:
        if time.monotonic() > deadline:
            raise GateError(
                f"still draining after {timeout_seconds:.0f} s (pid {pid}); `tollkeeper stop` again goes on waiting, "
                f"`kill -9 {pid}` ends it at once (open calls are then charged at what was held for them)"
            )
        time.sleep(POLL_SECONDS)
    click.echo("tollkeeper: stopped", err=True)
