"""Which way a route sends a call: the same way for the same session, so that a conversation keeps its model and its prompt cache."""

from hashlib import sha256

from tollkeeper.core.call import Call
from tollkeeper.core.decision import Target

from .model import Route


def way_of(route: Route, call: Call) -> Target | None:
    """The target that the route's shares give this call; None when it stays where it was sent."""
    if not route.splits:
        return None
    point = _point(route, call)
    passed = 0
    for split in route.splits:
        passed += split.percent * 100
        if point < passed:
            return split.target
    return None


def _point(route: Route, call: Call) -> int:
    """Ten thousand equal parts: which one falls to the session; to the call by itself where none is known."""
    who = call.attribution
    session = who.session or who.client_session or who.interaction or call.id
    return int.from_bytes(sha256(f"{route.name}\0{session}".encode("utf-8", "replace")).digest()[:8]) % 10_000
