"""A memory of a second: what many connections of one burst ask for is found out once."""

import time

KEPT_S = 1.0
MAX_KEPT = 4096


class Briefly[V]:
    """Values by key, each for ``KEPT_S``. For one thread."""

    def __init__(self) -> None:
        self._kept: dict[object, tuple[float, V]] = {}

    def get(self, key: object) -> V | None:
        """The value, None when it was never put or is too old."""
        found = self._kept.get(key)
        if found is None or time.monotonic() >= found[0]:
            return None
        return found[1]

    def put(self, key: object, value: V) -> V:
        """Remember a value, and give it back."""
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + KEPT_S, value)
        return value
