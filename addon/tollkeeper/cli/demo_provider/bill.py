"""What the fake provider knows it billed, and what it saw arrive: the other side of every comparison with the ledger."""

import dataclasses
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_KEPT = 100_000
IDENTITY_HEADERS = ("proxy-authorization", "cf-access-jwt-assertion", "cf-access-client-id", "cf-access-client-secret")
"""Headers that are meant for a proxy and must never reach a provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """One model call as billed. Token kinds are disjoint; ``reasoning_tokens`` is the part of ``output_tokens`` told apart.

    For a stream that was cut, ``complete`` is False and ``output_tokens`` counts the pieces that were written.
    """

    id: str
    provider: str
    model: str
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    web_search_requests: int
    streamed: bool
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """A request as it reached the provider. ``headers`` have lower-case names."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def identity_headers(self) -> tuple[str, ...]:
        """The names of proxy or identity headers that should have been taken off on the way."""
        return tuple(name for name in self.headers if name in IDENTITY_HEADERS or name.startswith("x-tollkeeper"))


class Bills:
    """Bounded and safe to read from another thread; ``record`` False keeps no request bodies (for benchmarks)."""

    def __init__(self, *, record: bool = True) -> None:
        self._lock = threading.Lock()
        self._record = record
        self._billed: deque[Billed] = deque(maxlen=MAX_KEPT)
        self._seen: deque[SeenRequest] = deque(maxlen=MAX_KEPT if record else 1)
        self._page = 0

    def see(self, request: SeenRequest) -> int:
        """Keep a request. What comes out is the page of the bill that its call belongs on."""
        with self._lock:
            self._seen.append(request)
            return self._page

    def add(self, billed: Billed, page: int | None = None) -> None:
        """Keep a billed call; one that belongs on a ``page`` from before the last ``clear`` came too late and is forgotten with it."""
        with self._lock:
            if page is None or page == self._page:
                self._billed.append(billed)

    def billed(self) -> list[Billed]:
        """Every billed call so far, in the order in which they ended."""
        with self._lock:
            return list(self._billed)

    def seen(self) -> list[SeenRequest]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return list(self._seen)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._billed.clear()
            self._seen.clear()
            self._page += 1

    def as_json(self) -> dict[str, Any]:
        """The answer to ``GET /__bill``."""
        seen = self.seen()
        leaked = sorted({name for request in seen for name in request.identity_headers})
        return {"calls": [dataclasses.asdict(call) for call in self.billed()], "requests": len(seen), "identity_headers": leaked}
