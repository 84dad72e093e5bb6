"""Carrying out a decision on a request: another model, a shorter answer, less thinking; and whatever follows from that."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tollkeeper.core.call import Endpoint
from tollkeeper.wire.dialects import BINARY
from tollkeeper.wire.multipart import is_multipart
from tollkeeper.wire.request import read_ask, set_model, set_output_cap
from tollkeeper.wire.row import CHAT, GENERATE, MESSAGES, RESPONSES
from tollkeeper.wire.traits import WRAPPED

from . import anthropic, gemini, openai
from .abilities import UNKNOWN, abilities_of
from .draft import Draft

BETA = b"anthropic-beta"

type Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be changed; None leaves it. ``most_output_tokens`` is what the new model can put out in one answer.

    ``forgets``: the conversation is under way, and what only the old model can read is to be taken out of it. ``continues``: whatever
    history the provider keeps of it is the new model's own.
    """

    model: str | None = None
    max_output_tokens: int | None = None
    effort: str | None = None
    most_output_tokens: int | None = None
    forgets: bool = False
    continues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """The request to send. ``notes`` name each parameter that was translated or dropped: words of the API, never a value of the user."""

    path: str
    fields: Fields
    body: bytes
    notes: tuple[str, ...] = ()


def rewrite(endpoint: Endpoint, path: str, fields: Sequence[tuple[bytes, bytes]], body: bytes, change: Change) -> Rewritten:
    """The request as ``change`` wants it, every other byte as it was.

    ``fields`` are header fields; ``endpoint`` is where the request goes. Raises ``WireError`` when it cannot be made to fit.
    """
    kept = tuple(fields)
    notes: list[str] = []
    is_json = endpoint.dialect not in BINARY and not is_multipart(body)
    if change.model is not None:
        path, body = set_model(endpoint, path, body, change.model)
        if is_json and endpoint.dialect in {CHAT, RESPONSES, MESSAGES, GENERATE}:
            body, kept, notes = _repaired(endpoint, kept, body, change)
        if change.most_output_tokens is not None:
            body = _lowered(endpoint, body, change.most_output_tokens, notes)
    if change.max_output_tokens is not None:
        body = set_output_cap(endpoint, body, change.max_output_tokens)
    if is_json and (change.effort is not None or endpoint.dialect == MESSAGES):
        body = _quieter(endpoint, body, change, notes)
    return Rewritten(path=path, fields=kept, body=body, notes=tuple(notes))


def _repaired(endpoint: Endpoint, fields: Fields, body: bytes, change: Change) -> tuple[bytes, Fields, list[str]]:
    takes = abilities_of(change.model or "")
    draft = Draft(body)
    if endpoint.dialect == CHAT:
        openai.repair_chat(draft, endpoint, takes)
    elif endpoint.dialect == RESPONSES:
        if change.forgets:
            _forget_reasoning(draft)
        openai.repair_responses(draft, takes, continues=change.continues)
    elif endpoint.dialect == GENERATE:
        if change.forgets:
            root = ("request",) if WRAPPED in endpoint.traits else ()
            history = _exact(draft, root, "contents")
            draft.put(gemini.unsigned(history), *root, "contents")
        gemini.repair(draft, endpoint, takes)
    else:
        if change.forgets:
            history, waits = anthropic.forget_thoughts(_exact(draft, (), "messages"))
            draft.put(history, "messages")
            if waits and draft.drop("thinking"):
                draft.notes.append("thinking dropped")
        fields = _with_betas(fields, anthropic.repair(draft, takes, betas_of(fields)))
    return draft.body(), fields, draft.notes


def _quieter(endpoint: Endpoint, body: bytes, change: Change, notes: list[str]) -> bytes:
    """Effort lowered, and Anthropic's thinking budget brought below the cap again."""
    model = change.model or read_ask(endpoint, body).model or ""
    takes = abilities_of(model)
    draft = Draft(body)
    if change.effort is not None and takes is not UNKNOWN:
        if endpoint.dialect == CHAT:
            openai.set_effort(draft, takes, change.effort, ("reasoning_effort",))
        elif endpoint.dialect == RESPONSES:
            openai.set_effort(draft, takes, change.effort, ("reasoning", "effort"))
        elif endpoint.dialect == GENERATE:
            gemini.set_effort(draft, endpoint, takes, change.effort)
        elif endpoint.dialect == MESSAGES:
            anthropic.set_effort(draft, takes, change.effort)
    if endpoint.dialect == MESSAGES:
        anthropic.fit_budget(draft)
    notes += draft.notes
    return draft.body()


def _lowered(endpoint: Endpoint, body: bytes, most: int, notes: list[str]) -> bytes:
    """A cap that the new model would refuse, lowered to the most it takes."""
    asked = read_ask(endpoint, body).max_output_tokens
    if asked is None or asked <= most:
        return body
    notes.append(f"max_output_tokens {asked} -> {most}")
    return set_output_cap(endpoint, body, most)


def _exact(draft: Draft, root: tuple[str, ...], key: str) -> object:
    """A history parsed as JSON is: the splicer's own parse keeps fractions as text, which must not be written back."""
    text = draft.text(root[0] if root else key)
    value = json.loads(text) if text else None
    return value.get(key) if root and isinstance(value, dict) else value


def _forget_reasoning(draft: Draft) -> None:
    items = _exact(draft, (), "input")
    if isinstance(items, list):
        kept = [item for item in items if not (isinstance(item, dict) and item.get("type") in {"reasoning", "compaction"})]
        if len(kept) != len(items):
            without_ids = [{k: v for k, v in one.items() if k != "id"} if isinstance(one, dict) else one for one in kept]
            draft.put(without_ids, "input")


def betas_of(fields: Sequence[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The tokens of every ``anthropic-beta`` header."""
    values = (value.decode("latin-1") for name, value in fields if name.lower() == BETA)
    return tuple(token.strip() for value in values for token in value.split(",") if token.strip())


def _with_betas(fields: Fields, betas: tuple[str, ...]) -> Fields:
    if betas == betas_of(fields):
        return fields
    rest = tuple(field for field in fields if field[0].lower() != BETA)
    return (*rest, (BETA, ",".join(betas).encode("latin-1"))) if betas else rest
