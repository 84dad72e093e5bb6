"""Many rows in one statement.

Every step of a statement gives up the interpreter's lock, and beside a busy event loop it takes up to 5 ms to get it back. So a
batch takes as few steps as it can: rows go in by 64, 16, 4 and 1, which keeps the number of different statements small.
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

SIZES = (64, 16, 4, 1)


@cache
def _insert(head: str, count: int, width: int, tail: str) -> str:
    """Always the same object: SQLite's own memory of statements goes by the hash of these 3 kB or more."""
    row = f"({','.join('?' * width)})"
    return f"{head} VALUES {','.join([row] * count)}{tail}"


def insert_all(connection: sqlite3.Connection, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """``INSERT``: ``head`` ends where VALUES comes, ``tail`` may hold an ON CONFLICT clause. All rows have one width."""
    width = len(rows[0])
    for start, count in _chunks(len(rows)):
        values = list(chain.from_iterable(rows[start : start + count]))
        connection.execute(_insert(head, count, width, tail), values)


def delete_all(connection: sqlite3.Connection, head: str, keys: Sequence[str]) -> None:
    """``DELETE``: ``head`` ends where the list of keys comes."""
    for start, count in _chunks(len(keys)):
        connection.execute(f"{head} IN ({','.join('?' * count)})", keys[start : start + count])


@cache
def _chunks(rows: int) -> tuple[tuple[int, int], ...]:
    found, start = [], 0
    for size in SIZES:
        while rows - start >= size:
            found.append((start, size))
            start += size
    return tuple(found)
