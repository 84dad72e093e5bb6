"""Small readers of what a request's body says, shared by the dialects."""

from .counts import Json

MAX_CHOICES = 1024
SEARCHES_UNBOUNDED = 10
"""Searches reserved for when a request allows a search tool and names no bound; none of the recorded answers used more."""


def positive(value: Json) -> int | None:
    """A positive whole number, or None."""
    return value if type(value) is int and 0 < value < 2**53 else None


def at_least_one(value: Json) -> int:
    """A number of answers asked for."""
    return min(positive(value) or 1, MAX_CHOICES)
