"""Gemini Interactions: models and agents behind one resource, whole, streamed, or in the background and read again.

Reference: ai.google.dev/api/interactions-api, and projects.locations.interactions on Vertex AI (camel case there). An interaction that runs
in the background says what it used only where it is read again: that reading carries the same id as every other of it.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.reading_asks import positive
from tollkeeper.wire.row import RETRIEVE

from .gemini_counts import MAPS, SEARCH, TIER_HEADER, bills_queries, disjoint, note_tier, pick, resource_id, tier, tool_fees

_FIGURES = {
    "prompt": "total_input_tokens",
    "cached": "total_cached_tokens",
    "tool_use": "total_tool_use_tokens",
    "thoughts": "total_thought_tokens",
    "answer": "total_output_tokens",
}
_DETAILS = {
    "prompt": "input_tokens_by_modality",
    "cached": "cached_tokens_by_modality",
    "tool_use": "tool_use_tokens_by_modality",
    "answer": "output_tokens_by_modality",
}
_FEES = {"google_search": SEARCH, "google_maps": MAPS, "retrieval": "retrieval_requests"}
_RUNNING = frozenset({"in_progress", "queued"})
_OVER = frozenset({"completed", "requires_action", "failed", "cancelled", "incomplete", "budget_exceeded"})
_MEDIA = frozenset({"audio", "video"})
_MAX_STEPS = 4096


class GeminiInteractions:
    """The dialect ``gemini-interactions``."""

    name = "gemini-interactions"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        inputs = _inputs(body)
        material = weigh(inputs)
        config = member(body, "generation_config") or member(body, "generationConfig")
        model = model_name(body.get("model")) or model_name(body.get("agent"))
        model = model.rpartition("/")[2] if model else endpoint.model_in_path
        schemas = schema_text(body.get("tools")) + schema_text(body.get("response_format"))
        fees = tool_fees(body.get("tools"), model or "")
        if body.get("agent"):
            fees[SEARCH] = max(fees.get(SEARCH, 0), tool_fees([{"type": "google_search"}], model or "")[SEARCH])
        return Ask(
            model=model,
            streamed=body.get("stream") is True or endpoint.path.endswith(":createStream"),
            max_output_tokens=positive(pick(config, "max_output_tokens")),
            fresh=not (pick(body, "previous_interaction_id") or body.get("agent") or _has_answer(body.get("input"))),
            input_bytes=material.text_bytes + len(schemas.encode("utf-8", "replace")),
            media_parts=material.media_parts + _count_media(body.get("input")),
            service_tier=tier(pick(body, "service_tier")),
            server_tools=fees.pop(SEARCH, 0),
            units=fees,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts(_inputs(body))
        yield schema_text(body.get("tools"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        outer = "generationConfig" if "generationConfig" in body else "generation_config"
        inner = "maxOutputTokens" if "maxOutputTokens" in member(body, outer) else "max_output_tokens"
        return (outer, inner)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return InteractionsReader(endpoint, ask, headers)


class InteractionsReader:
    """Reads one answer: the last usage with figures is the bill, running totals included."""

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> None:
        self.notes = Notes(repeatable=True)
        self._retrieved = endpoint.operation == RETRIEVE
        self._ask = ask
        self._usage: Mapping[str, Json] | None = None
        self._calls_seen: dict[str, int] = {}
        note_tier(self.notes, headers.get(TIER_HEADER))

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return b'usage"' in data or b"Usage" in data or b'"error"' in data or b"nteraction" in data[:4096]

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        if data.strip() == b"[DONE]":
            self.notes.ended = True
            self.notes.final = self._usage is not None

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``. Event names stand in ``event_type``, or the event is the one member of a Vertex message."""
        notes = self.notes
        for key in ("interactionCompletedEvent", "interactionCompleteEvent", "interactionCreatedEvent", "interactionStartEvent"):
            payload = member(payload, key) or payload
        if payload.get("error"):
            notes.failed(payload["error"])
        if pick(payload, "interaction_id") is not None:
            notes.response_id = notes.response_id or resource_id(pick(payload, "interaction_id"))
        running = pick(member(payload, "metadata"), "total_usage")
        self._take(running)
        interaction = member(payload, "interaction")
        if interaction:
            self._interaction(interaction)
        kind = name(pick(payload, "event_type")) or ""
        if kind.startswith("interaction.complete") or _status(interaction) in _OVER:
            self._over()

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        if payload.get("error"):
            notes.failed(payload["error"])
        self._interaction(payload)
        notes.pending = _status(payload) in _RUNNING
        if notes.pending:
            notes.flags.add("background")
        else:
            self._over()

    def _over(self) -> None:
        notes = self.notes
        notes.ended = True
        notes.final = self._usage is not None
        if self._retrieved and notes.response_id:
            notes.results_of = (notes.response_id,)

    def _interaction(self, interaction: Mapping[str, Json]) -> None:
        notes = self.notes
        served = member(interaction, "modelInteraction") or member(interaction, "agentInteraction")
        named = model_name(interaction.get("model")) or model_name(interaction.get("agent")) or model_name(served.get("model"))
        named = named or model_name(served.get("agent"))
        notes.model = named.rpartition("/")[2] if named else notes.model
        notes.response_id = notes.response_id or resource_id(interaction.get("id")) or resource_id(interaction.get("name"))
        note_tier(notes, pick(interaction, "service_tier"))
        if _status(interaction) == "failed" and notes.error is None:
            notes.error = "failed"
        self._note_searches(interaction.get("steps") or interaction.get("outputs"))
        self._take(interaction.get("usage"))

    def _take(self, usage: Json) -> None:
        if isinstance(usage, dict) and any(pick(usage, key) is not None for key in (*_FIGURES.values(), "total_tokens")):
            self._usage = usage
            self.notes.keep_raw(usage)

    def _note_searches(self, steps: Json) -> None:
        """Searches in the steps themselves, for answers whose usage does not count them."""
        for step in steps[:_MAX_STEPS] if isinstance(steps, list) else ():
            kind = name(step.get("type")) if isinstance(step, dict) else None
            if kind in {"google_search_call", "google_maps_call"}:
                queries = member(step, "arguments").get("queries")
                unit = _FEES[kind.removesuffix("_call")]
                asked = len(queries) if isinstance(queries, list) and queries else 1
                self._calls_seen[unit] = self._calls_seen.get(unit, 0) + min(asked, 100)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        usage, flags = self._usage, self.notes.flags
        if usage is None:
            return ()
        figures = {side: count(pick(usage, key), flags) for side, key in _FIGURES.items()}
        total = count(pick(usage, "total_tokens"), flags)
        stated = sum(figures.values()) - figures["cached"]
        if total and total != stated:
            flags.add("total-differs")
        if total > stated and not has_count(usage, "total_input_tokens") and not has_count(usage, "totalInputTokens"):
            figures["prompt"] = total - stated  # a running total that tells no more
        model = self.notes.model or self._ask.model
        details = {side: pick(usage, key) for side, key in _DETAILS.items()}
        return (disjoint(figures, details, model, self._fees(usage, model or ""), flags),)

    def _fees(self, usage: Mapping[str, Json], model: str) -> dict[str, int]:
        stated = pick(usage, "grounding_tool_count")
        fees = dict(self._calls_seen)
        if isinstance(stated, list):
            fees = {}
            for item in stated[:16]:
                unit = _FEES.get((name(item.get("type")) or "").lower()) if isinstance(item, dict) else None
                if unit:
                    fees[unit] = fees.get(unit, 0) + count(item.get("count"), self.notes.flags)
        by_query = bills_queries(model)
        return {unit: found if by_query else min(found, 1) for unit, found in fees.items()}

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``. Signatures and media are not text."""
        holders = (payload.get("delta"), payload.get("steps"), payload.get("outputs"), member(payload, "step").get("content"))
        for part in _parts(holders):
            kind = part.get("type")
            if kind in {"text", "thought_summary", "arguments_delta", "text_delta"} or "arguments" in part:
                yield from texts((part.get("text"), part.get("arguments"), member(part, "content").get("text")))


def _parts(holders: tuple[Json, ...]) -> Iterator[Mapping[str, Json]]:
    """The content parts in a delta, a step or a list of steps."""
    for holder in holders:
        for item in holder[:_MAX_STEPS] if isinstance(holder, list) else (holder,):
            if not isinstance(item, dict):
                continue
            yield item
            inner = item.get("content")
            for part in inner[:_MAX_STEPS] if isinstance(inner, list) else ():
                if isinstance(part, dict):
                    yield part


def _status(interaction: Mapping[str, Json]) -> str:
    return (name(interaction.get("status")) or "").lower().removeprefix("status_")


def _inputs(body: Mapping[str, Json]) -> tuple[Json, ...]:
    return (body.get("input"), pick(body, "system_instruction"))


def _has_answer(turns: Json) -> bool:
    """Whether the input holds anything that a model made."""
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict):
            kind = turn.get("type")
            made = isinstance(kind, str) and (kind in {"model_output", "thought"} or kind.endswith(("_call", "_result")))
            if turn.get("role") == "model" or made:
                return True
    return False


def _count_media(turns: Json) -> int:
    """Sounds and films in the input; pictures and documents are told by the common weighing."""
    parts = _parts((turns,))
    return sum(1 for part in parts if isinstance(part.get("type"), str) and part["type"] in _MEDIA)
