"""The tree of agents: a session, the agents it started, and those they started; each with all below it added up."""

from collections.abc import Iterable

from tollkeeper.ledger.rows import Group
from tollkeeper.report.cells import UNKNOWN
from tollkeeper.report.fold import add

from .look import Look

MAX_DEPTH = 8

type Path = tuple[str, ...]
"""A session and the agents from it down."""


def tree_of(groups: Iterable[Group]) -> list[Group]:
    """Groups by session, parent agent and agent as a tree, dearest branch first: keys are paths, figures include the branches."""
    parents: dict[tuple[str, str], str] = {}
    rows = list(groups)
    for group in rows:
        session, parent, agent = group.keys
        if agent and parent != agent:
            parents.setdefault((session, agent), parent)
    nodes: dict[Path, Group] = {}
    for group in rows:
        path = _path(group.keys, parents)
        for depth in range(1, len(path) + 1):
            node = path[:depth]
            nodes[node] = add(nodes[node], group) if node in nodes else add(Group(keys=node), group)
    return _in_order(nodes)


def label(path: Path, look: Look) -> str:
    """The last name of a path, set in by its depth."""
    if len(path) == 1:
        return path[0] or f"{UNKNOWN} no session"
    return f"{'  ' * (len(path) - 2)}{look.sign('↳')} {path[-1]}"


def _path(keys: tuple[str, ...], parents: dict[tuple[str, str], str]) -> Path:
    """From the session down; a parent that is not among the agents of the session is the session's own top agent."""
    session, parent, agent = keys
    names: list[str] = []
    name = agent
    while name and name not in names and len(names) < MAX_DEPTH:
        names.append(name)
        name = parents.get((session, name), "")
    if agent and parent and parent not in names and (session, parent) in parents:
        names.append(parent)
    return (session, *reversed(names))


def _in_order(nodes: dict[Path, Group]) -> list[Group]:
    children: dict[Path, list[Group]] = {}
    for path, group in nodes.items():
        children.setdefault(path[:-1], []).append(group)
    found: list[Group] = []

    def walk(path: Path) -> None:
        for group in sorted(children.get(path, ()), key=lambda group: (-group.exposure_nanousd, -group.calls, group.keys)):
            found.append(group)
            walk(group.keys)

    walk(())
    return found
