"""What a batch asks: its requests, read one by one and gathered into groups of alike ones, so that 100,000 of them stay a few values."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from tollkeeper.core.call import Ask

from .counts import Json, parse
from .framing.ndjson import NdjsonReader

MAX_REQUESTS = 200_000
"""The most requests read of one batch: Anthropic takes 100,000, OpenAI 50,000."""

MAX_BATCH_BYTES = 256 * 1024 * 1024
"""The most a batch may weigh to be read: Anthropic takes 256 MB, OpenAI 200 MB."""

BARE_LINES = "\0lines"
"""Stands for the body itself, where that is neither JSON nor a form: no field of a request has such a name."""

MAX_GROUPS = 256
MAX_LINE_BYTES = 32 * 1024 * 1024
BATCH_TIER = "batch"
_STEP_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Group:
    first: Ask
    requests: int = 0
    input_bytes: int = 0
    media_parts: int = 0
    server_tools: int = 0


class Gathering:
    """Adds up requests that differ only in how much they send: model, cap on output, choices and operation are the same."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str | None, int | None, int, str], _Group] = {}
        self.requests = 0

    def add(self, ask: Ask) -> None:
        """One request of the batch."""
        key = (ask.model, ask.max_output_tokens, ask.choices, ask.operation)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                key = (ask.model, None, ask.choices, ask.operation)  # too many different caps: held as if it had none
                group = self._groups.get(key)
            if group is None:
                group = self._groups.setdefault(key, _Group(replace(ask, max_output_tokens=key[1])))
        group.requests += 1
        group.input_bytes += ask.input_bytes
        group.media_parts += ask.media_parts
        group.server_tools += ask.server_tools
        self.requests += 1

    def parts(self) -> tuple[Ask, ...]:
        """The groups; sizes are those of a group's average request, rounded up."""
        return tuple(
            replace(
                group.first,
                requests=group.requests,
                input_bytes=-(-group.input_bytes // group.requests),
                media_parts=-(-group.media_parts // group.requests),
                server_tools=-(-group.server_tools // group.requests),
                service_tier=BATCH_TIER,
            )
            for group in self._groups.values()
        )


def gathered(asks: Iterable[Ask], *, model: str | None = None, batch_file: str | None = None) -> Ask:
    """The ask of a batch. ``model`` is the batch's own, where it names one; else that of its first request."""
    gathering = Gathering()
    for ask in asks:
        gathering.add(ask if ask.model is not None else replace(ask, model=model))
        if gathering.requests >= MAX_REQUESTS:
            break
    parts = gathering.parts()
    return Ask(
        model=model or (parts[0].model if parts else None),
        fresh=False,
        input_bytes=sum(part.input_bytes * part.requests for part in parts),
        service_tier=BATCH_TIER,
        parts=parts,
        batch_file=batch_file,
    )


def with_parts(ask: Ask, parts: tuple[Ask, ...]) -> Ask:
    """The ask of a batch, now that it is known what its file asks."""
    if not parts:
        return ask
    parts = tuple(part if part.model is not None else replace(part, model=ask.model) for part in parts)
    size = sum(part.input_bytes * part.requests for part in parts)
    return replace(ask, model=ask.model or parts[0].model, parts=parts, input_bytes=size)


def lines_of(data: memoryview | bytes) -> Iterator[Mapping[str, Json]]:
    """The JSON objects of a JSON-lines file, one at a time; lines that are none, or over 32 MiB, are left out. Nothing is copied whole."""
    view = memoryview(data)
    framer = NdjsonReader(MAX_LINE_BYTES)
    for start in range(0, len(view), _STEP_BYTES):
        for line in framer.feed(bytes(view[start : start + _STEP_BYTES])):
            yield from _object(line)
    for line in framer.close():
        yield from _object(line)


def _object(line: bytes) -> Iterator[Mapping[str, Json]]:
    try:
        found = parse(line)
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict):
        yield found
