"""``tollkeeper ci step NAME``: what is called from here on stands under this name in the summary."""

import os

import click

from tollkeeper.core.clock import system_clock

from .ci_state import CiState, note_step, public_folder


@click.command()
@click.argument("name")
def command(name: str) -> None:
    """Name what the job does from here on."""
    folder = public_folder(os.environ)
    CiState.read(folder)
    note_step(folder, name, system_clock())
