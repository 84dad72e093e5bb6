"""From a row of the breakdown to the filter that leaves its calls, and no others."""

from tollkeeper.ledger.rows import Group

from .filtering import Filter, exactly

FIELDS = {
    "person": "who", "team": "team", "project": "project", "branch": "branch", "tool": "tool", "session": "session",
    "agents": "session", "model": "model", "provider": "provider",
}  # fmt: skip
"""The filter field for the first name of a group, by the breakdown's dimension."""


def filter_of(dimension: str, group: Group) -> Filter:
    """What a group's calls have in common. An agent is one of its session: others may have named theirs alike."""
    names = {FIELDS[dimension]: group.keys[0]}
    if dimension == "agents" and len(group.keys) > 1:
        names["agent"] = group.keys[-1]
    return exactly(**names)
