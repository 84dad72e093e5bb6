"""``tollkeeper completions``: the script by which a shell completes our verbs and options."""

import click
from click.shell_completion import get_completion_class

from tollkeeper.core.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what makes SHELL complete `tollkeeper`.

    \b
    bash  tollkeeper completions bash > ~/.local/share/bash-completion/completions/tollkeeper
    zsh   tollkeeper completions zsh > "${fpath[1]}/_tollkeeper"
    fish  tollkeeper completions fish > ~/.config/fish/completions/tollkeeper.fish
    """  # noqa: D301 — click's mark is the character itself
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script for a shell. Raises ``ConfigError`` for one that is not known."""
    from .main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise ConfigError(f"no completions for {shell}: one of {', '.join(SHELLS)}")
    found = kind(cli, {}, "tollkeeper", "_TOLLKEEPER_COMPLETE").source()
    # click's script for fish cuts every description at its first comma.
    return found.replace('string split "," $completion', 'string split -m 1 "," $completion') + "\n"
