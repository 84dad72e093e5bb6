"""A CEL condition cut where ``&&``, ``||``, ``? :`` and comparisons join it, so that each side can be tried by itself.

The language leaves out what it need not run (https://github.com/google/cel-spec, "Logical Operators"), so a fault behind a side that
is false would be met only by the first call for which it is true. The library shows no syntax tree; strings and brackets are enough
to cut at the top, and what is cut wrongly is no expression and is left alone.
"""

import re
from collections.abc import Iterator
from typing import Final

_STRING: Final = r'''[rR]?(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')'''
_TOKEN: Final = re.compile(
    rf"(?P<text>{_STRING})|(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<joint>&&|\|\||\?|:)|(?P<equal>==|!=)|.", re.DOTALL
)
_BOUND: Final = re.compile(
    r"\.\s*(?:all|exists|exists_one|existsOne|filter|map)\s*\(\s*([A-Za-z_]\w*)\s*,(?:\s*([A-Za-z_]\w*)\s*,)?"
)


def sides(text: str) -> Iterator[str]:
    """Every part that stands by itself, the innermost only: those of ``a && !(b || c)`` are ``a``, ``b`` and ``c``."""
    cut = _cut(text, "joint")
    for side in (one.strip() for one in cut):
        inner = side.lstrip("! ") if side.startswith("!") else side[1:-1] if _is_enclosed(side) else side
        if len(cut) == 1 and inner == side:
            yield side
        else:
            yield from sides(inner)


def equals(side: str) -> tuple[str, str] | None:
    """The two values that a side compares by ``==`` or ``!=``; None where it does not."""
    cut = _cut(side, "equal")
    return (cut[0], cut[1]) if len(cut) == 2 else None


def bound_in(text: str) -> frozenset[str]:
    """The names that macros like ``groups.exists(g, …)`` give for their own use."""
    return frozenset(name for match in _BOUND.finditer(text) for name in match.groups() if name)


def _cut(text: str, at: str) -> list[str]:
    found, depth, begin = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if token.lastgroup == at and depth == 0:
            found.append(text[begin : token.start()])
            begin = token.end()
    return [*found, text[begin:]]


def _is_enclosed(text: str) -> bool:
    """Whether one pair of brackets holds all of it."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth == 0:
            return text.startswith("(") and token.end() == len(text)
    return False
