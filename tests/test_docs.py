"""README and docs say what is so: every command exists, every option is real, every policy shown parses, every link leads somewhere."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tollkeeper.cli.main import VERBS, cli
from tollkeeper.policy.document import parse_policy

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROSE = "\n".join(page.read_text() for page in PAGES)
CODE = re.compile(r"`(?:\$ )?(tollkeeper [a-z][^`\n]*)`|^\$ (tollkeeper [a-z].*)$", re.MULTILINE)
COMMANDS = sorted({(first or second).partition("  #")[0].strip() for first, second in CODE.findall(PROSE)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_policy_shown_parses(page: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    policies = [block for block in blocks if re.search(r"^(mode|\[budget)", block, re.MULTILINE)]
    for block in policies:
        assert parse_policy(block, page.name).digest


def test_every_verb_is_in_the_documentation() -> None:
    assert [verb for verb in VERBS if f"tollkeeper {verb}" not in PROSE] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_exists_with_the_options_shown(command: str) -> None:
    words = shlex.split(command.replace("…", "x"))[1:]
    context = click.Context(cli, info_name="tollkeeper")
    node: click.Command = cli
    while isinstance(node, click.Group) and words and not words[0].startswith("-") and words[0].islower():
        found = node.get_command(context, words[0].partition("|")[0])
        assert found is not None, f"{command}: no such verb"
        node, words = found, words[1:]
    if "--" in words:
        words = words[: words.index("--")]
    known = {option for parameter in node.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "-h"}
    shown = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert shown <= known, f"{command}: {shown - known}"


@pytest.mark.parametrize("verb", VERBS)
def test_no_help_shows_the_marks_of_its_own_layout(verb: str) -> None:
    """click keeps lines as they stand below a backspace character; one that was written with two shows as ``\\b``."""
    context = click.Context(cli, info_name="tollkeeper")
    command = cli.get_command(context, verb)
    assert command is not None
    every = [command]
    while every:
        one = every.pop()
        assert "\\b" not in one.get_help(click.Context(one, info_name=verb, parent=context))
        if isinstance(one, click.Group):
            every += filter(None, (one.get_command(context, name) for name in one.list_commands(context)))
