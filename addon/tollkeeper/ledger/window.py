"""One bucket in its present window: a span of time, or a row of slots that a rolling window moves along."""

from . import scope as scopes

SLOTS = 240
"""Of a rolling window: a slot counts until all of it has left."""

type Touch = tuple[str, int]
"""A balance an entry counts under: bucket key, slot start."""


class Window:
    """One bucket in its present window. ``posted`` and ``held`` are kept for rolling windows only, from ``floor`` on."""

    __slots__ = (
        "ends_at", "floor", "held", "is_partial", "key", "length_us", "matches", "named_at", "order", "posted", "scope", "start_at",
    )  # fmt: skip

    def __init__(
        self, key: str, start_at: int, ends_at: int | None, length_us: int | None, scope: scopes.Scope, named_at: int
    ) -> None:
        self.key, self.start_at, self.ends_at, self.length_us, self.scope = key, start_at, ends_at, length_us, scope
        self.matches = scopes.matcher(scope)
        self.is_partial = scopes.exact(scope) is None
        self.named_at = named_at
        self.floor = -1
        self.order: list[int] = []
        self.posted = self.held = 0

    def slot(self, at: int) -> int:
        """The slot that counts the moment ``at``."""
        return self.start_at if self.length_us is None else floor_of(at, self.length_us)

    def covers(self, at: int) -> bool:
        """Whether an entry of that moment counts here."""
        return self.length_us is not None or (self.start_at <= at and (self.ends_at is None or at < self.ends_at))


def floor_of(at: int, length_us: int) -> int:
    """The start of the slot of a rolling window that holds the moment ``at``."""
    return at - at % max(1, -(-length_us // SLOTS))
