"""Variables written as each shell or tool reads them."""

import json
from collections.abc import Iterable, Mapping

from tollkeeper.core.errors import ConfigError

SHELLS = ("bash", "zsh", "fish", "pwsh", "nu", "dotenv", "docker", "github")
FILES = ("dotenv", "docker", "github")
"""Formats that are files, in which a variable cannot be unset."""


def shell_exports(variables: Mapping[str, str], shell: str) -> str:
    """``variables`` as text that sets them; nu: ``tollkeeper env --shell nu | from json | load-env``.

    Raises ``ConfigError`` for an unknown shell, and for a value with a control character (no value of ours has one).
    """
    _check_shell(shell)
    for name, value in variables.items():
        if any(character < " " or character == "\x7f" for character in value):
            raise ConfigError(f"the value of {name} has a control character and cannot be written for {shell}")
    if shell == "nu":
        return json.dumps(dict(variables), ensure_ascii=False) + "\n"
    return "".join(f"{_assignment(name, value, shell)}\n" for name, value in variables.items())


def shell_unsets(names: Iterable[str], shell: str) -> str:
    """Text that takes variables away. Raises ``ConfigError`` where a file is meant: its lines must be deleted instead."""
    _check_shell(shell)
    if shell in FILES:
        raise ConfigError(f"--unset makes no sense for {shell}: delete the lines that `tollkeeper env --shell {shell}` wrote")
    if shell == "fish":
        return "".join(f"set -e {name}\n" for name in names)
    if shell == "pwsh":
        return "".join(f"Remove-Item Env:{name} -ErrorAction SilentlyContinue\n" for name in names)
    if shell == "nu":
        return f"hide-env --ignore-errors {' '.join(names)}\n"
    return f"unset {' '.join(names)}\n"


def shell_of(path: str) -> str:
    """The name for ``--shell`` that fits a ``$SHELL`` value; bash where it is none of ours (its syntax is POSIX)."""
    name = path.rpartition("/")[2].removesuffix(".exe")
    return name if name in SHELLS and name not in FILES else "bash"


def _assignment(name: str, value: str, shell: str) -> str:
    if shell == "fish":
        return f"set -gx {name} '{value.replace(chr(92), chr(92) * 2).replace(chr(39), chr(92) + chr(39))}'"
    if shell == "pwsh":
        return f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"
    if shell in {"docker", "github"}:
        return f"{name}={value}"  # both read the rest of the line as it is
    if shell == "dotenv":
        return f"{name}={_dotenv_quoted(value)}"
    return f"export {name}={_posix_quoted(value)}"


def _posix_quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _dotenv_quoted(value: str) -> str:
    if "'" not in value:
        return f"'{value}'"
    for character in '\\"$`':
        value = value.replace(character, f"\\{character}")
    return f'"{value}"'


def _check_shell(shell: str) -> None:
    if shell not in SHELLS:
        raise ConfigError(f"unknown shell {shell[:40]!r}: one of {', '.join(SHELLS)}")
