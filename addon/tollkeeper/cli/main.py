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
    "top": ("top", "The live dashboard: budgets, calls in flight, decisions."),
    "report": ("report", "What calls cost: by day, model, person, project, …"),
    "tail": ("tail", "The last calls, one line each."),
    "show": ("show", "One call: every charge, price and rule."),
    "export": ("export", "To OpenTelemetry or Prometheus."),
    "statusline": ("statusline", "One line for Claude Code, tmux or a prompt."),
    "prices": ("prices", "The prices in force, and what has none."),
    "ledger": ("ledger", "Verify, reprice or find the ledger."),
    "policy": ("policy", "Check, explain, try, suggest or compare policy documents."),
    "budget": ("budget", "How budgets stand, whether any is used up, where they head."),
    "mcp": ("mcp", "The caller's budgets as a tool for agents (MCP)."),
    "grant": ("grant", "Let somebody use more of a budget for a while."),
    "meter": ("meter", "Price past traffic from HAR, flow or JSON-lines files."),
    "init": ("init", "Three questions, and a policy for this machine."),
    "service": ("service", "Start the proxy at login: systemd or launchd."),
    "completions": ("completions", "For bash, zsh and fish."),
    "login": ("login", "Prove who you are, once, at your identity provider."),
    "logout": ("logout", "Forget that."),
    "whoami": ("whoami", "Under whose name calls are recorded, and how sure that is."),
    "doctor": ("doctor", "Check the whole set-up; every failure with its remedy."),
    "ci": ("ci", "In a pipeline: start, prove the lock, finish with a summary."),
    "transparent": ("transparent", "Packet rules that send connections to the proxy (root)."),
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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it; a verb that is not there is answered with the nearest that is."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0].lower(), VERBS, 1)
            ctx.fail(f'There is no command "{args[0][:40]}"{f": did you mean {near[0]}?" if near else ""}')
        return super().resolve_command(ctx, args)

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
