"""What the fake provider is asked to do: read from ``x-fake-…`` request headers, so that an unchanged client can be steered."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_CHUNKS = 100_000
PREFIX = "x-fake-"

WORDS = (" the", " cost", " of", " a", " call", " is", " known", " when", " it", " ends")
"""One token each in o200k, so that a count of cut text can be checked against the number of pieces sent."""


class Cut(StrEnum):
    """Where the provider drops the connection."""

    NEVER = ""
    BEFORE_HEADERS = "before-headers"
    AFTER_HEADERS = "after-headers"
    MID_EVENT = "mid-event"
    BEFORE_USAGE = "before-usage"
    AFTER_USAGE = "after-usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One field per header: ``delay_ms`` is ``x-fake-delay-ms``. Counts of None are derived from the request.

    ``split`` writes that many bytes at a time, ``at_once`` the whole body in one write; ``close`` frames the body by closing
    the connection; ``delay_ms`` comes before every content piece, ``first_delay_ms`` before the response head. ``fail_model``: status,
    cut and first delay are for requests to that model only. ``capped``: no answer is longer than the request lets it be.
    """

    status: int = 200
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_search_requests: int = 0
    chunks: int = 8
    text: str = ""
    text_bytes: int = 0
    id: str = ""
    delay_ms: float = 0.0
    first_delay_ms: float = 0.0
    cut: Cut = Cut.NEVER
    encoding: str = ""
    split: int = 0
    at_once: bool = False
    close: bool = False
    crlf: bool = False
    trailers: bool = False
    early_hints: bool = False
    fail_model: str = ""
    capped: bool = False

    def for_cap(self, cap: object) -> "Script":
        """The script for one request: with ``capped``, its output is what the request's own cap lets through."""
        if not self.capped or type(cap) is not int or self.output_tokens is None:
            return self
        return dataclasses.replace(self, output_tokens=min(self.output_tokens, cap))

    def for_model(self, model: object) -> "Script":
        """The script for one request: with ``fail_model``, failures are for that model only."""
        if not self.fail_model or model == self.fail_model:
            return self
        return dataclasses.replace(self, status=200, first_delay_ms=0.0, cut=Cut.NEVER)

    def pieces(self) -> list[str]:
        """The answer's text, in the pieces in which it is streamed."""
        if self.text:
            return [self.text] * self.chunks
        if self.text_bytes:
            each = max(1, self.text_bytes // self.chunks)
            return [("".join(WORDS) * (each // 40 + 1))[:each]] * self.chunks
        return [WORDS[index % len(WORDS)] for index in range(self.chunks)]


DEFAULT = Script()
_FIELDS = {PREFIX + field.name.replace("_", "-"): field for field in dataclasses.fields(Script)}


def read_script(headers: Mapping[str, str]) -> Script:
    """The script in a request's headers (lower-case names). Raises ``ValueError`` for an unknown or unusable one."""
    chosen: dict[str, object] = {}
    for name, value in headers.items():
        if not name.startswith(PREFIX):
            continue
        field = _FIELDS.get(name)
        if field is None:
            raise ValueError(f"unknown header {name}; known: {', '.join(sorted(_FIELDS))}")
        chosen[field.name] = _value(field, value)
    if not chosen:
        return DEFAULT
    script = dataclasses.replace(DEFAULT, **chosen)  # type: ignore[arg-type]
    if not 1 <= script.chunks <= MAX_CHUNKS:
        raise ValueError(f"x-fake-chunks is {script.chunks}; it must be 1 to {MAX_CHUNKS}")
    return script


def _value(field: dataclasses.Field[object], value: str) -> object:
    default = getattr(DEFAULT, field.name)
    if isinstance(default, Cut):
        return Cut(value)
    if isinstance(default, bool):
        return value == "1"
    if isinstance(default, str):
        return value
    return float(value) if isinstance(default, float) else int(value)
