"""The shape all dialects answer in: the pieces of a body in the order of the wire, and what they bill."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .script import Script


class Tokens(NamedTuple):
    """Disjoint counts: what the script says, else derived from the request so that two equal requests cost the same."""

    input: int
    cache_read: int
    write_5m: int
    write_1h: int
    output: int
    reasoning: int

    @property
    def input_total(self) -> int:
        """All that went in, as providers of the inclusive family report it."""
        return self.input + self.cache_read + self.write_5m + self.write_1h


NOTHING = Tokens(0, 0, 0, 0, 0, 0)


def tokens_for(script: Script, body: bytes) -> Tokens:
    """The counts for one call: a quarter of the request's bytes in, one token a piece out, unless scripted."""
    output = script.output_tokens if script.output_tokens is not None else script.chunks + script.reasoning_tokens
    return Tokens(
        script.input_tokens if script.input_tokens is not None else max(1, len(body) // 4),
        script.cache_read_tokens,
        script.cache_write_5m_tokens,
        script.cache_write_1h_tokens,
        output,
        script.reasoning_tokens,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response body in parts: ``opening`` and ``content`` come before the usage is known to the reader, ``ending`` after.

    ``model`` is None when nothing is billed. A body that is not streamed is one ``content`` piece.
    """

    content_type: str
    content: tuple[bytes, ...]
    opening: tuple[bytes, ...] = ()
    usage: tuple[bytes, ...] = ()
    ending: tuple[bytes, ...] = ()
    streamed: bool = False
    provider: str = ""
    model: str | None = None
    id: str = ""
    tokens: Tokens = NOTHING
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A parsed request: ``document`` is its JSON body (empty when there is none)."""

    host: str
    method: str
    path: str
    query: str
    document: Mapping[str, Any]
    body: bytes
    script: Script
    id: str


CREATED_AT = 1_760_000_000
"""A fixed time in every answer, so that equal requests get equal bytes."""
