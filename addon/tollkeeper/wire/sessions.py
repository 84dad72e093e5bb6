"""What a session is: many calls over one WebSocket, told apart by what its frames say.

A session reader is handed every frame as a parsed JSON object, from either side, in order. It says when a turn begins, so that the
budget is asked before anything goes on, and what a turn used once it is over. It never changes a frame and never raises.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.clock import Clock
from tollkeeper.core.usage import Reading, Usage, UsageSource

from .counts import Json, parse
from .dialect import Notes

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A frame above this is passed on unread: twice the largest request body that any provider documents."""

MAX_OPEN_TURNS = 64
"""Turns under way at once in one session; OpenAI allows 16 streams a socket, the rest of them one."""

MAX_TEXT_CHARS = 512 * 1024
"""Visible output kept of a turn in case it is cut; beyond it, a sample with its scale."""

WITHOUT_USAGE = "turn-without-usage"
UNUSED = "turn-unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A turn that begins with this very frame. ``number`` is the reader's own, never given twice in a session.

    ``ask`` is what its hold goes by. ``is_request``: the client's frame is by itself a request body in the shape that the endpoint's
    dialect reads, so that its prompt can be counted and its model rewritten; False when the question lies in earlier frames.
    ``in_advance``: nothing has begun; the hold stands for a turn that may begin by itself.
    """

    number: int
    ask: Ask
    is_request: bool = False
    in_advance: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn that is over. One that was never opened (``number`` unknown to the caller) is a call billed besides: record it at once."""

    number: int
    ask: Ask
    reading: Reading
    prompt: str = field(default="", repr=False)
    """Text that went in, for counting what nobody reported; never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The frames that say no: to the client always, to the provider when it has begun by itself. JSON text, sent as text frames."""

    to_client: bytes
    to_server: bytes = b""
    ends_session: bool = False
    """Close the socket after it: the client knows no other way to be stopped."""


class SessionReader(Protocol):
    """Reads one session. Payloads are parsed frames (fractions as text); nothing here raises for any shape of them."""

    notes: Notes
    """Of the session as a whole: model, id, flags."""

    def client(self, payload: Mapping[str, Json]) -> Opening | None:
        """A frame of the client, before it is sent on. An opening means: ask the budget first; sent on only if it agrees."""

    def server(self, payload: Mapping[str, Json]) -> Opening | None:
        """A frame of the provider. An opening means that it has begun a turn by itself (voice activity, audio input)."""

    def refuse(self, opening: Opening, message: str) -> Refused:
        """Forget a turn that was not allowed, and say so in the form on which this API's clients stop."""

    def take_turns(self) -> tuple[Turn, ...]:
        """The turns that ended since the last call, in order."""

    def finish(self) -> tuple[Turn, ...]:
        """The socket is gone: every turn still open, as it stands. Safe to call more than once."""


@runtime_checkable
class Watched(Protocol):
    """A session reader that can tell how far its turns have come."""

    def so_far(self, number: int) -> tuple[tuple[Usage, ...], int] | None:
        """As ``Meter.so_far``, of the open turn with that number; None when there is none, or it has not begun."""


type NewSession = Callable[[Endpoint, str, Clock], SessionReader]
"""How a session begins: its endpoint, the model that its URL names (or ""), and a clock for what is billed by time."""


@dataclass(slots=True, kw_only=True)
class OpenTurn:
    """A turn under way: what a reader keeps of it, and how that becomes a reading."""

    number: int
    ask: Ask
    notes: Notes = field(default_factory=Notes)
    calls: tuple[Usage, ...] = ()
    prompt: str = field(default="", repr=False)
    _text: list[str] = field(default_factory=list, repr=False)
    _kept: int = 0
    _said: int = 0

    def say(self, text: Json) -> None:
        """Keep a piece of visible output, within bounds."""
        if not isinstance(text, str) or not text:
            return
        self._said += len(text)
        if self._kept + len(text) > MAX_TEXT_CHARS:
            if len(text) <= MAX_TEXT_CHARS:
                return
            text = text[: MAX_TEXT_CHARS - self._kept]  # it alone is too long: its head stands for it
        self._kept += len(text)
        self._text.append(text)

    @property
    def said(self) -> int:
        """How many characters of visible output there have been."""
        return self._said

    def close(self, *, cut: bool) -> Turn:
        """The turn as it stands. ``cut``: its end was never seen.

        As for an answer over HTTP: the provider's figures are ``reported`` when final, ``partial`` when it broke off, ``counted`` from the
        text when it was whole and said nothing, ``none`` when it failed before a word; a whole turn with neither figures nor text (audio)
        is ``unmetered``, flagged ``turn-without-usage``.
        """
        notes, text = self.notes, "".join(self._text)
        source = self._source(text, cut=cut)
        flags = {*notes.flags, *([WITHOUT_USAGE] if source is UsageSource.UNMETERED else [])}
        guessed = source in {UsageSource.PARTIAL, UsageSource.COUNTED}
        reading = Reading(
            source=source,
            calls=tuple(call if call.model else replace(call, model=notes.model or self.ask.model) for call in self.calls),
            model=notes.model or self.ask.model,
            response_id=notes.response_id,
            terms=dict(notes.terms),
            provider_cost_usd=notes.cost_usd,
            error=notes.error,
            complete=not cut,
            raw=tuple(notes.raw),
            flags=tuple(sorted(flags)),
            visible_output=text if guessed else "",
            visible_output_scale=max(1.0, self._said / self._kept) if self._kept else 1.0,
            is_repeatable=notes.repeatable,
            results_of=() if cut else notes.results_of,
            links=dict(notes.links),
            refusal=notes.refusal,
            plan_windows=notes.plan_windows,
        )
        return Turn(number=self.number, ask=self.ask, reading=reading, prompt=self.prompt if guessed else "")

    def close_unused(self) -> Turn:
        """A turn that was held for and never came: nothing was billed."""
        return Turn(number=self.number, ask=self.ask, reading=Reading(source=UsageSource.NONE, flags=(UNUSED,)))

    def _source(self, text: str, *, cut: bool) -> UsageSource:
        if self.calls and (self.notes.final or not cut):
            return UsageSource.COUNTED if self.notes.counted else UsageSource.REPORTED
        if self.notes.error and not self.calls and not text:
            return UsageSource.NONE
        if cut or self.notes.error:
            return UsageSource.PARTIAL
        return UsageSource.COUNTED if text else UsageSource.UNMETERED


def parse_frame(content: bytes) -> Mapping[str, Json] | None:
    """A frame as a JSON object with its fractions as text; None when it is none, too large or too deep. Text and binary alike."""
    if len(content) > MAX_FRAME_BYTES:
        return None
    try:
        parsed = parse(content)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
