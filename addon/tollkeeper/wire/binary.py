"""What a dialect does besides when its bodies are no JSON: cut its answers into JSON, read its requests, rewrite them."""

from collections.abc import Mapping
from typing import Protocol

from tollkeeper.core.call import Endpoint

from .counts import Json


class Framer(Protocol):
    """Cuts a byte stream into elements."""

    @property
    def skipped(self) -> int:
        """How many were passed over: too long, or unreadable."""

    def feed(self, data: bytes) -> list[bytes]:
        """The elements that ``data`` completes."""

    def close(self) -> list[bytes]:
        """What was still held back."""


class Binary(Protocol):
    """The bytes of one dialect."""

    def framer(self, endpoint: Endpoint, headers: Mapping[str, str], limit: int) -> Framer:
        """A framer of one answer, whose elements are JSON objects of at most about ``limit`` bytes."""

    def request(self, endpoint: Endpoint, body: bytes) -> Mapping[str, Json] | None:
        """A request as a JSON object, None when it is none. Never raises."""

    def with_model(self, endpoint: Endpoint, body: bytes, model: str) -> bytes:
        """The same request to another model. Raises ``WireError`` when it cannot be rewritten."""

    def with_cap(self, endpoint: Endpoint, body: bytes, tokens: int) -> bytes:
        """The same request with its cap on output set. Raises ``WireError`` when it cannot be rewritten."""
