"""Refusals that repeat: a blocked agent may ask 180 times a minute, and the ledger keeps a few of them and how many more there were.

The first ten alike within a minute are entries of their own. Those after them are counted, and stand in one entry when the minute is
over: the last of them, which says how many more it stands for (``actions``: ``{"repeats": 57}``). No money is in any of them. What a
crash takes is that count of one minute.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, field

from .columns import INDEX
from .row import Row, encode

MOST_EACH = 10
WITHIN_US = 60 * 1_000_000
MAX_KINDS = 4_096

_WHOSE = ("subject", "issuer", "project", "client", "session", "client_session")
_WHAT = ("provider", "operation", "model_requested", "rule", "budget")
_ALIKE = tuple(INDEX[name] for name in (*_WHOSE, *_WHAT))
_AT, _REASON, _ACTIONS = INDEX["at"], INDEX["reason"], INDEX["actions"]

COUNT_SQL = """(CASE WHEN kind = 'refuse' AND actions LIKE '{"repeats"%' THEN json_extract(actions, '$.repeats') ELSE 0 END)"""
"""How many calls an entry stands for besides its own."""

type _Kind = tuple[object, ...]


@dataclass(slots=True)
class _Run:
    """Refusals alike, since the first of them."""

    since: int
    seen: int = 1
    counted: int = 0
    last: Row = field(default_factory=list)


class Repeats:
    """What is counted and not written yet. Lives as long as its journal; for one thread, inside its transactions."""

    def __init__(self) -> None:
        self._runs: OrderedDict[_Kind, _Run] = OrderedDict()
        self._counted: list[_Kind] = []
        self._taken: list[tuple[_Kind, _Run]] = []

    def counts(self, row: Row, at: int) -> bool:
        """Whether a refusal is one more of many, so that it is counted here and not written. ``at`` is the ledger's clock."""
        kind = tuple(row[place] for place in _ALIKE)
        run = self._runs.get(kind)
        if run is None:
            self._runs[kind] = _Run(at)
            return False
        run.seen += 1
        if run.seen <= MOST_EACH:
            return False
        run.counted += 1
        run.last = row
        self._counted.append(kind)
        return True

    def due(self, at: int, *, at_once: bool = False) -> list[Row]:
        """The entries to write by now, oldest first, complete but for ``seq``; with ``at_once`` those of minutes under way as well."""
        if not self._runs:
            return []
        found = []
        for kind, run in list(self._runs.items()):
            if not (at_once or at - run.since >= WITHIN_US or len(self._runs) > MAX_KINDS):
                break  # in the order in which they began
            del self._runs[kind]
            self._taken.append((kind, run))
            if run.counted:
                found.append(_standing_for(run, at))
        return found

    @property
    def are_waiting(self) -> bool:
        """Whether anything is counted that stands in no entry yet."""
        return any(run.counted for run in list(self._runs.values()))

    def keep(self) -> None:
        """The transaction is about to be committed: what it counted and took stays so."""
        self._counted.clear()
        self._taken.clear()

    def undo(self) -> None:
        """The transaction was rolled back."""
        for kind, run in self._taken:
            self._runs[kind] = run
        for kind in self._counted:
            self._runs[kind].counted -= 1
        if self._taken:
            self._runs = OrderedDict(sorted(self._runs.items(), key=lambda item: item[1].since))
        self.keep()


def more_like_it(actions: str) -> int:
    """How many calls besides its own an entry stands for, by its ``actions``."""
    found = json.loads(actions) if actions else {}
    count = found.get("repeats", 0) if isinstance(found, dict) else 0
    return count if isinstance(count, int) else 0


def _standing_for(run: _Run, at: int) -> Row:
    row, more = list(run.last), run.counted - 1
    row[_AT] = at
    if more:
        row[_ACTIONS] = encode({"repeats": more})
        said = f"{row[_REASON]}; " if row[_REASON] else ""
        row[_REASON] = f"{said}{more} more like it within a minute"[:512]
    return row
