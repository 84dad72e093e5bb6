"""``tollkeeper``: finds the verb's module, and turns our errors into one line and an exit code."""

import importlib
import sys

import click

from tollkeeper import __version__
from tollkeeper.core.errors import TollkeeperError

VERBS = {
    "run": "run",
    "start": "start",
    "stop": "stop",
    "status": "status",
    "env": "env",
    "report": "report",
    "tail": "tail",
    "show": "show",
    "prices": "prices",
    "ledger": "ledger",
    "policy": "policy",
    "meter": "meter",
    "doctor": "doctor",
    "demo": "demo",
    "addon-path": "addon_path",
}


class LazyGroup(click.Group):
    """Imports a verb's module only when that verb is used: ``--help`` and ``report`` never pay for mitmproxy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command of a verb, or None."""
        module_name = VERBS.get(cmd_name)
        if module_name is None:
            return None
        module = importlib.import_module(f".{module_name}", __package__)
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 — a programming error, not input
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tollkeeper")
def cli() -> None:
    """Meter, price, record and enforce AI traffic, without changing a single client.

    Start with `tollkeeper demo` (offline, no key), then `tollkeeper run -- claude`.
    """


def main() -> None:
    """Entry point of the ``tollkeeper`` command."""
    try:
        cli()
    except TollkeeperError as error:
        click.echo(f"tollkeeper: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
