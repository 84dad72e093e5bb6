"""``tollkeeper top``: the live dashboard, in this terminal, in a browser, or once as text."""

import gc
import os
import secrets
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import SetupError
from tollkeeper.core.paths import home

if TYPE_CHECKING:
    from tollkeeper.tui.feed import Feed

EXAMPLES = """\b
tollkeeper top
tollkeeper top --since 2h --zone Europe/Rome
tollkeeper top --serve"""
THEMES = {"dark": "textual-dark", "light": "textual-light", "terminal": "ansi-dark"}
SERVED = "TEXTUAL_DRIVER"
"""Set by textual-serve for the screens it starts: their standard output is a pipe to the browser."""


@click.command(epilog=EXAMPLES)
@click.option("--since", metavar="TIME", help='Count calls from: "2h", "today", "2026-11-01".  [today]')
@click.option("--zone", metavar="ZONE", help="Time zone of days, like Europe/Rome.  [this machine's]")
@click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to watch.  [this user's]")
@click.option(
    "--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Budgets of this policy.  [in force]"
)
@click.option("--theme", type=click.Choice(["auto", *THEMES]), default="auto", show_default=True, help="Colours.")
@click.option("--no-emoji", is_flag=True, help="Signs and bars in plain ASCII.")
@click.option("--once", is_flag=True, help="Print the overview as text and end; so also when the output is no terminal.")
@click.option("--serve", "serves", is_flag=True, help="Show it in a browser on this machine; prints the address with its token.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port for --serve.  [a free one]")
def command(
    since: str | None,
    zone: str | None,
    ledger_path: Path | None,
    policy: Path | None,
    theme: str,
    no_emoji: bool,
    once: bool,
    serves: bool,
    port: int | None,
) -> None:
    """Budgets, calls in flight, decisions and breakdowns as they happen. Only reads: no key changes money or policy."""
    if port is not None and not serves:
        raise click.UsageError("--port goes with --serve")
    if ledger_path is not None and not ledger_path.exists():
        raise SetupError(f"there is no ledger at {ledger_path}")
    from tollkeeper.report.period import parse_moment, zone_of

    from .zones import local_zone_name

    name = zone or local_zone_name()
    start = parse_moment(since, system_clock(), zone_of(name)) if since else None
    if serves:
        _serve(_again(since=since, zone=name, ledger=ledger_path, policy=policy, theme=theme, no_emoji=no_emoji), port)
        return
    from tollkeeper.tui.feed import Feed

    feed = Feed(
        ledger_path or home().ledger,
        zone=name,
        since=start,
        policy_path=policy,
        ask_proxies=_ask_proxies if ledger_path is None else tuple,
        prices=home().prices,
    )
    try:
        if once or not (sys.stdout.isatty() or SERVED in os.environ) or os.environ.get("TERM") == "dumb":
            _print_once(feed, ascii_only=no_emoji)
        else:
            _show(feed, _theme(theme), ascii_only=no_emoji)
    finally:
        feed.close()


def _show(feed: "Feed", theme: str, *, ascii_only: bool) -> None:
    # Importing Textual is two thirds of the time until it can draw: the first frame is drawn without it, and it goes on from there.
    # Nothing is thrown away until then, so looking for garbage would only cost (30 ms of 400). The screen turns it on again.
    gc.disable()
    from tollkeeper.tui.curtain import curtain

    first = feed.first()
    if SERVED in os.environ:
        from tollkeeper.tui.app import TopApp

        app = TopApp(feed, first=first, theme=theme, ascii_only=ascii_only)
        app.run()
        sys.exit(app.return_code)
    with curtain(first, theme, ascii_only=ascii_only):
        from tollkeeper.tui.app import TopApp
        from tollkeeper.tui.taking_over import Drawn

        app = TopApp(feed, first=first, theme=theme, ascii_only=ascii_only, driver_class=Drawn)
        app.run()
    sys.exit(app.return_code)  # 1 when it ended by an error, which Textual has told then


def _print_once(feed: "Feed", *, ascii_only: bool) -> None:
    from tollkeeper.tui.plain import print_once

    feed.ask()
    print_once(feed.load(), sys.stdout, ascii_only=ascii_only)


def _ask_proxies() -> tuple[dict[str, Any], ...]:
    """The background proxy and those of every ``tollkeeper run`` under way."""
    from .process import ask_status, read_state

    own = home()
    found = []
    for path in (own.state, *sorted(own.root.glob("run-*/proxy.json"))[:50]):
        state = read_state(path)
        if state is not None:
            live = ask_status(state)
            known = {**state, **(live or {}), "answers": live is not None}
            found.append({key: value for key, value in known.items() if not key.startswith("proxy_")})
    return tuple(found)


def _theme(chosen: str) -> str:
    """``auto`` goes by COLORFGBG, which many terminals set to the colours they stand on; dark when nobody says."""
    if chosen != "auto":
        return THEMES[chosen]
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return THEMES["light" if background in {"7", "15"} else "dark"]


def _again(**options: object) -> str:
    """The shell command that shows this screen again, for each page of the browser."""
    words = [sys.executable, "-c", "from tollkeeper.cli.main import main; main()", "top"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value:
            words += [option, str(value)]
    return shlex.join(words)


def _serve(again: str, port: int | None, ready: Callable[[str], object] = click.echo) -> None:
    from tollkeeper.tui.serve import HOST, free_port, serve

    port, token = port or free_port(), secrets.token_urlsafe(24)
    ready(f"http://{HOST}:{port}/?token={token}")
    click.echo("tollkeeper: this machine only; whoever has the address sees the figures. Ctrl-C ends it.", err=True)
    serve(again, port, token)
