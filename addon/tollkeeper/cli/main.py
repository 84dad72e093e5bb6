"""``tollkeeper``: finds the verb's module, and turns our errors into one line and an exit code."""

import importlib
import sys

import click

from tollkeeper import __version__
from tollkeeper.core.errors import TollkeeperError

VERBS = {
    "run": ("run", "Run one command with its AI calls metered."),
    "start": ("start", "Start the proxy for this machine."),
    "stop": ("stop", "Stop it after a clean drain."),
    "status": ("status", "What it has seen, and what it could not meter."),
    "env": ("env", "Print what makes a shell use the running proxy."),
    "report": ("report", "What calls cost: by day, model, person, project, …"),
    "tail": ("tail", "The last calls, one line each."),
    "show": ("show", "One call: every charge, price and rule."),
    "prices": ("prices", "The prices in force, and what has none."),
    "ledger": ("ledger", "Verify, reprice or find the ledger."),
    "policy": ("policy", "Check a policy document and say what it means."),
    "meter": ("meter", "Price past traffic from HAR, flow or JSON-lines files."),
    "doctor": ("doctor", "Check the whole set-up; every failure with its remedy."),
    "demo": ("demo", "The first minute, offline: metered, downgraded, refused."),
    "addon-path": ("addon_path", "Where the script for plain mitmdump is."),
}
"""Verb to its module and its line in ``--help``; the line stands here so that help imports no verb."""


class LazyGroup(click.Group):
    """Imports a verb's module only when that verb is used: ``--help`` and ``report`` never pay for mitmproxy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The click command of a verb, or None."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f".{VERBS[cmd_name][0]}", __package__)
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 — a programming error, not input
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs in ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


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
