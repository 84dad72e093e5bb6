"""Conversations that a policy has moved to another model: what they go on with is that model's own, so that they may be moved again.

Without this a moved agent would be refused at its second step: its conversation is no longer fresh, and asks for the dear model still.
And within a turn (a message of the user and the tools' results that follow) it stays where the turn began, whatever room comes and goes:
models that take turns in one turn lose the prompt cache each time, and cannot read each other's thoughts.

Told by how it begins: whose it is, and what was said before the first answer; or by the response it follows, where the provider keeps the
history. Only a digest is kept, here and beside the ledger, for twelve hours after its last use.
"""

import json
from collections import OrderedDict
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from tollkeeper.core.admission import Admission
from tollkeeper.core.call import Call
from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.ledger.pins import PinFile
from tollkeeper.wire.row import RESPONSES

MAX_PINS: Final = 10_000
LIFETIME_US: Final = 12 * 3_600 * US_PER_SECOND
WHOSE_BYTES: Final = 8
RULE: Final = "pinned"
_KEYS: Final = ("messages", "input", "contents")
_TOLD: Final = frozenset({"system", "developer"})
_BEFORE: Final = "previous_response_id"


class Pin(NamedTuple):
    """A conversation that was moved: to which model, and whether this request is in the middle of a turn."""

    model: str
    is_mid_turn: bool


class Pins:
    """Which conversations were moved, of all processes on one ledger; without ``ledger`` of this one. Bounded; for one thread."""

    def __init__(self, ledger: Path | None = None) -> None:
        self._pinned: OrderedDict[bytes, tuple[str, int]] = OrderedDict()
        self._whose: set[bytes] = set()
        """Who has had a conversation moved, from which model: nobody else's requests are looked into."""
        self._file = None if ledger is None else PinFile(ledger)

    def of(self, call: Call, body: bytes, at: int) -> Pin | None:
        """The pin of a conversation that is under way. Costs next to nothing for whom none has been moved."""
        for row in self._file.news() if self._file is not None else ():
            self._remember(*row)
        if not self._pinned or _whose(call) not in self._whose:
            return None
        if (parsed := _parsed(body)) is None or (key := _key(call, parsed)) is None:
            return None
        model, since = self._pinned.get(key, ("", 0))
        return Pin(model, _is_mid_turn(parsed)) if model and at - since < LIFETIME_US else None

    def note(self, call: Call, body: bytes, model: str | None, at: int) -> None:
        """A conversation goes to ``model``; None: to the one it asks for, so that it is like any other from now on."""
        if (parsed := _parsed(body)) is not None and (key := _key(call, parsed)) is not None:
            self._keep(key, model or "", at)

    def answered(self, call: Call, response_id: str | None, model: str | None, at: int) -> None:
        """``model`` gave this answer in place of the one asked: what follows on it may go to that model again."""
        if response_id and model and call.endpoint.dialect == RESPONSES:
            self._keep(_digest(call, {_BEFORE: response_id}), model, at)

    def _keep(self, key: bytes, model: str, at: int) -> None:
        self._remember(key, model, at)
        if self._file is not None:
            self._file.keep((key, model, at), at - LIFETIME_US)

    def _remember(self, key: bytes, model: str, at: int) -> None:
        self._whose.add(key[:WHOSE_BYTES])
        self._pinned[key] = (model, at)
        self._pinned.move_to_end(key)
        if len(self._pinned) > MAX_PINS:
            self._pinned.popitem(last=False)
            if len(self._whose) > MAX_PINS:
                self._whose = {one[:WHOSE_BYTES] for one in self._pinned}


def staying(admission: Admission, pin: Pin) -> Admission:
    """In the middle of a turn: the ways to serve a call with the model that the turn began with come first."""
    kept = [one for one in admission.candidates if one.model == pin.model != admission.call.model]
    if not (kept and pin.is_mid_turn and admission.enforce):
        return admission
    others = [one for one in admission.candidates if one not in kept]
    first = [replace(one, rule=one.rule or RULE, reason=one.reason or "its turn began with that model") for one in kept]
    return replace(admission, candidates=(*first, *others))


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _key(call: Call, parsed: dict[str, Any]) -> bytes | None:
    if isinstance(before := parsed.get(_BEFORE), str) and before:
        return _digest(call, {_BEFORE: before})
    turns = next((parsed[key] for key in _KEYS if parsed.get(key)), None)
    said = [_bare(turns)] if isinstance(turns, str) else _begun(_list(turns))
    return _digest(call, {"said": said}) if said else None


def _digest(call: Call, bare: dict[str, Any]) -> bytes:
    said = json.dumps(bare, sort_keys=True).encode("utf-8", "replace")
    whose = _whose(call)
    return whose + blake2b(said, digest_size=16, key=whose).digest()


def _whose(call: Call) -> bytes:
    who = (call.principal.subject, call.endpoint.host, call.endpoint.dialect, call.model)
    return blake2b(json.dumps(who).encode("utf-8", "replace"), digest_size=WHOSE_BYTES).digest()


def _list(turns: object) -> list[Any]:
    return turns if isinstance(turns, list) else []


def _begun(turns: list[Any]) -> list[Any]:
    """What the user said before the first answer. Codex begins with a message about the folder, the same for every conversation in it.

    Systems and developers may say something else each time, with the date in it.
    """
    said = []
    for turn in turns:
        if not isinstance(turn, dict):
            break
        role = turn.get("role")
        if role == "user" or (role is None and turn.get("type", "message") == "message"):
            said.append(_bare(turn.get("content", turn.get("parts"))))
        elif role not in _TOLD:
            break
    return said


def _bare(content: Any) -> Any:
    """What is said, without the marks of the prompt cache, which wander from turn to turn. A text is the same as a list of it."""
    if isinstance(content, str):
        return [content]
    return [_bare_block(block) for block in content] if isinstance(content, list) else content


def _bare_block(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    if isinstance(text := block.get("text"), str) and block.get("type") in {None, "text", "input_text"}:
        return text
    return {name: value for name, value in block.items() if name != "cache_control"}


def _is_mid_turn(parsed: dict[str, Any]) -> bool:
    """Whether what was said last is the result of a tool."""
    turns = _list(next((parsed[key] for key in _KEYS if parsed.get(key)), None))
    last = next(
        (turn for turn in reversed(turns) if isinstance(turn, dict) and turn.get("role") not in {"system", "developer"}), None
    )
    if last is None:
        return False
    if last.get("role") in {"tool", "function"} or str(last.get("type")).endswith("_output"):
        return True
    parts = _list(last.get("content", last.get("parts")))
    return any(isinstance(part, dict) and (part.get("type") == "tool_result" or "functionResponse" in part) for part in parts)
