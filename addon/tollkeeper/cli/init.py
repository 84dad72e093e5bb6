"""``tollkeeper init``: three questions, one policy document in which every line says what it does."""

import sys
from pathlib import Path

import click

from tollkeeper.core.errors import ConfigError, SetupError
from tollkeeper.core.money import format_usd_exact, parse_usd
from tollkeeper.core.paths import home

from .process import made_home

MODES = ("observe", "enforce")
EXAMPLES = """\b
tollkeeper init                                              three questions
tollkeeper init --day "20 USD" --mode observe                none
tollkeeper init --day "20 USD" --mode enforce --cheaper claude-haiku-4-5,gpt-5-mini --print"""

DOCUMENT = """\
# The policy of this machine, made by `tollkeeper init`. `tollkeeper policy check` says what it means; docs/policy.md has every key.

schema = 1                # the version of this form
mode = "{mode}"          # {mode_words}
zone = "{zone}"   # where days begin

[budget.day]              # "day" is only a name: it stands in refusals and reports
amount = "{amount} USD"   # what may be spent in one window; held before a call leaves, settled by its true cost
window = "day"            # from midnight to midnight; also "week", "month", "rolling 24h"
share = "pool"            # one amount for everything; "each" with per = "principal" or "project" divides it
{exceed}
message = "Raise it: amount in [budget.day] of {file}"   # what a refused tool is told to do
"""

MODE_WORDS = {
    "observe": 'nothing is blocked; `tollkeeper report` says what would have been. "enforce" makes budgets act',
    "enforce": 'budgets act; "observe" only watches',
}


@click.command(epilog=EXAMPLES)
@click.option("--day", "amount", metavar="AMOUNT", help='The budget of a day, like "20 USD".')
@click.option("--mode", type=click.Choice(MODES), help="Watch first, or act at once.")
@click.option(
    "--cheaper", metavar="MODEL[,MODEL]", help="Models that calls over the budget are moved to; without it they are refused."
)
@click.option("--zone", help="Where days begin, like Europe/Rome.  [this machine's]")
@click.option("--print", "only_print", is_flag=True, help="Print the document, write nothing.")
@click.option("--force", is_flag=True, help="Replace a policy that is there; the old one is kept as policy.toml.old.")
def command(amount: str | None, mode: str | None, cheaper: str | None, zone: str | None, only_print: bool, force: bool) -> None:
    """Write a policy for this machine. Asks what is not said; in a pipe it asks nothing and takes the defaults."""
    from tollkeeper.report.period import zone_of

    from .zones import local_zone_name

    target = home().policy
    if target.exists() and not (force or only_print):
        raise ConfigError(
            f"{target} exists: `tollkeeper policy check` says what it means; --force replaces it (the old one is kept)"
        )
    asks = sys.stdin.isatty() and not only_print
    amount = amount or (_ask("1/3  What may a day cost at most?", "20 USD") if asks else "20 USD")
    mode = mode or (_ask("2/3  Only watch at first (observe), or act (enforce)?", "observe", MODES) if asks else "observe")
    if cheaper is None:
        cheaper = _ask("3/3  Models to move to when it is used up (comma between; empty: refuse)", "") if asks else ""
    name = zone or local_zone_name()
    zone_of(name)
    text = document(amount, mode, cheaper, name, target)
    if only_print:
        click.echo(text, nl=False)
        return
    _write(target, text)
    click.echo(f"wrote {target}", err=True)
    click.echo("next: tollkeeper policy check    then: tollkeeper run -- CMD, or tollkeeper start", err=True)


def document(amount: str, mode: str, cheaper: str, zone: str, target: Path) -> str:
    """The document, checked by the parser that will read it. Raises ``ConfigError``."""
    from tollkeeper.policy.document import parse_policy

    try:
        dollars = format_usd_exact(parse_usd(amount)).rstrip("0").rstrip(".")
    except ValueError as error:
        raise ConfigError(f"--day: {error}") from None
    models = [model.strip() for model in cheaper.split(",") if model.strip()]
    if any(character in model for model in models for character in '"\\\n\r\t'):
        raise ConfigError("--cheaper: names of models have no quotes or backslashes")
    listed = ", ".join(f'"{model}"' for model in models)
    exceed = (
        f"on_exceed = {{ rewrite = [{listed}] }}   # the first that fits answers instead; else the call is refused"
        if models
        else 'on_exceed = "refuse"      # the tool gets an error that says why; or { rewrite = "MODEL" }'
    )
    text = DOCUMENT.format(mode=mode, mode_words=MODE_WORDS[mode], zone=zone, amount=dollars, exceed=exceed, file=target.name)
    parse_policy(text, target.name)
    return text


def _ask(question: str, default: str, choices: tuple[str, ...] = ()) -> str:
    kind = click.Choice(choices) if choices else str
    shown = default != ""
    return str(click.prompt(question, default=default, type=kind, err=True, show_default=shown, show_choices=False)).strip()


def _write(target: Path, text: str) -> None:
    made_home()
    try:
        if target.exists():
            target.replace(target.with_name(f"{target.name}.old"))
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot write {target}: {error.strerror}") from error
