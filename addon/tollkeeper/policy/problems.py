"""What is wrong with a document, each with its line; one error tells them all."""

from dataclasses import dataclass

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import KeyPath, LineFinder

MAX_SHOWN = 50


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, and the line it stands on."""

    line: int
    message: str


class PolicyError(ConfigError):
    """A policy document that cannot be used. ``problems`` are all that was found, by line."""

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        self.name = name
        self.problems = problems
        shown = [f"{name}:{problem.line}: {problem.message}" for problem in problems[:MAX_SHOWN]]
        if len(problems) > MAX_SHOWN:
            shown.append(f"{name}: and {len(problems) - MAX_SHOWN} more problems")
        super().__init__("\n".join(shown))


class Problems:
    """Collects problems while a document is read, so that one run shows them all."""

    def __init__(self, name: str, lines: LineFinder) -> None:
        self._name = name
        self._lines = lines
        self._found: list[Problem] = []

    def add(self, path: KeyPath, message: str) -> None:
        """Note that ``message`` is wrong with the value at ``path``."""
        self._found.append(Problem(self._lines.line_of(path), message))

    def raise_any(self) -> None:
        """Raise ``PolicyError`` when anything was noted."""
        if self._found:
            raise PolicyError(self._name, tuple(sorted(self._found)))
