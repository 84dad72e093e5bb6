"""``tollkeeper statusline`` among the other verbs: its help. The line is made in ``quick``, which ``entry`` calls before click."""

import click

from .quick import main


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=True)
@click.option("--template", metavar="TEXT", help="What to show: {session} {today} {curve} {rate} {budget} {open} {state}.")
@click.option("--width", metavar="N", help="At most so many characters.")
@click.option("--no-emoji", is_flag=True, help="ASCII only.")
@click.option("--session", metavar="ID", help="The conversation, where standard input does not tell it.")
def command(template: str | None, width: str | None, no_emoji: bool, session: str | None) -> None:
    """One line for a corner: this conversation, today, the last hour, the budget nearest to its end.

    \b
    Claude Code, settings.json: "statusLine": {"type": "command", "command": "tollkeeper statusline"}
    tmux: set -g status-right '#(tollkeeper statusline --no-emoji --width 60)'
    """  # noqa: D301 — click's mark is the character itself
    arguments = [f"--{name}={value}" for name, value in (("template", template), ("width", width), ("session", session)) if value]
    raise SystemExit(main([*arguments, *(["--no-emoji"] if no_emoji else [])]))
