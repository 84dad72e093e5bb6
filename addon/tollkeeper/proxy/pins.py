"""Conversations that a downgrade has moved: what they go on with is the cheaper model's own, so that they may be moved again.

Without this a moved agent would be refused at its second step: its conversation is no longer fresh, and asks for the dear model still.
Told by how it begins: whose it is, and its first message. Only a digest is kept, in memory.
"""

import json
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from tollkeeper.core.call import Call
from tollkeeper.core.clock import US_PER_SECOND

MAX_PINS: Final = 10_000
LIFETIME_US: Final = 12 * 3_600 * US_PER_SECOND
_KEYS: Final = ("messages", "input", "contents")


class Pins:
    """Which conversations were begun by another model than they ask for. Bounded; for one thread."""

    def __init__(self) -> None:
        self._pinned: OrderedDict[bytes, int] = OrderedDict()

    def add(self, call: Call, body: bytes, at: int) -> None:
        """A fresh conversation has been moved."""
        if (key := _key(call, body)) is not None:
            self._pinned[key] = at
            self._pinned.move_to_end(key)
            if len(self._pinned) > MAX_PINS:
                self._pinned.popitem(last=False)

    def holds(self, call: Call, body: bytes, at: int) -> bool:
        """Whether this conversation was moved when it began. Costs nothing while none has been."""
        if not self._pinned or (key := _key(call, body)) is None:
            return False
        since = self._pinned.get(key)
        return since is not None and at - since < LIFETIME_US


def _key(call: Call, body: bytes) -> bytes | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    turns = next((parsed[key] for key in _KEYS if parsed.get(key)), None) if isinstance(parsed, dict) else None
    if not turns:
        return None
    first = turns if isinstance(turns, str) else next((turn for turn in turns if _is_asked(turn)), None)
    if first is None:
        return None
    if isinstance(first, str):  # a text by itself comes back as the first message of a list
        first = {"role": "user", "content": first}
    bare = {"role": first.get("role"), "said": first.get("content", first.get("parts"))}
    who = (call.principal.subject, call.endpoint.host, call.endpoint.dialect, call.model, bare)
    return blake2b(json.dumps(who, sort_keys=True).encode("utf-8", "replace"), digest_size=16).digest()


def _is_asked(turn: object) -> bool:
    """The first message of the user: systems and developers may be sent anew each time, with the date in them."""
    return isinstance(turn, dict) and turn.get("role") in {"user", None}
