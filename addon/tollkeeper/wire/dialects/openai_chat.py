"""OpenAI Chat Completions, legacy completions and embeddings, and every host that speaks them.

Reference: platform.openai.com/docs/api-reference/chat; deviations: docs/wire.md, "Counting".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import EMPTY, Usage
from tollkeeper.wire.counts import Json, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.inclusive import has_counts, inclusive_usage, later
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.reading_asks import SEARCH, SEARCH_PREVIEW, at_least_one, effort_of, fallback_models, positive
from tollkeeper.wire.row import RETRIEVE
from tollkeeper.wire.stated_cost import note_copilot_cost, note_stated_cost
from tollkeeper.wire.traits import OLD_CAP, USAGE_UNASKED

_ANSWERED = frozenset({"assistant", "tool", "function"})
_TOKEN_BYTES = 4
"""What an encoded token counts as input: about four bytes of English text."""
_SCHEMAS = ("tools", "functions", "response_format")

_UNDEFERRED = frozenset({"choices", "usage", "error"})
_MAX_MODELS = 64
_SEARCH_MODEL = re.compile(r"(?:^|/)gpt-[a-z0-9.-]+-search-(preview|api)", re.IGNORECASE)

_FILTERED = ("content_filter", "sensitive", "refusal")
"""Finish reasons that say a filter or the model refused (``sensitive``: Z.ai, docs.z.ai/api-reference)."""


class OpenAIChat:
    """The dialect ``openai-chat``."""

    name = "openai-chat"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        material = weigh(_inputs(body))
        streamed = body.get("stream") is True
        asked = member(body, "stream_options").get("include_usage") is True
        caps = [cap for key in ("max_completion_tokens", "max_tokens") if (cap := positive(body.get(key)))]
        messages = body.get("messages")
        history = messages if isinstance(messages, list) else []
        model = model_name(body.get("model"))
        searches = _searches(model) if endpoint.operation == "chat" else EMPTY
        return Ask(
            model=model,
            streamed=streamed,
            max_output_tokens=min(caps, default=None),
            choices=max(at_least_one(body.get("n")), at_least_one(body.get("best_of"))),
            fresh=not any(isinstance(turn, dict) and name(turn.get("role")) in _ANSWERED for turn in history),
            usage_requested=not streamed or asked or USAGE_UNASKED in endpoint.traits,
            input_bytes=material.text_bytes
            + sum(len(schema_text(body.get(key)).encode("utf-8", "replace")) for key in _SCHEMAS)
            + _TOKEN_BYTES * sum(_tokens_sent(body)),
            media_parts=material.media_parts,
            cache_write_ttl=material.cache_write_ttl,
            service_tier=name(body.get("service_tier")),
            effort=effort_of(body.get("reasoning_effort") or member(body, "reasoning").get("effort")),
            server_tools=int(bool(searches) or isinstance(body.get("web_search_options"), dict)),
            units=searches,
            fallback_models=fallback_models(body),
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``. Token arrays (embeddings, completions) become as many one-token words."""
        yield from texts(_inputs(body))
        for key in _SCHEMAS:
            yield schema_text(body.get(key))
        for tokens in _tokens_sent(body):
            yield " a" * tokens

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        if "max_completion_tokens" in body:
            return ("max_completion_tokens",)
        old = "max_tokens" in body or endpoint.operation != "chat" or OLD_CAP in endpoint.traits
        return ("max_tokens",) if old else ("max_completion_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return ChatReader(endpoint, ask)


class ChatReader:
    """Reads one answer: the last usage that holds figures is the bill, field by field."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self._endpoint = endpoint
        self._ask = ask
        self._usage: Mapping[str, Json] | None = None
        self._by_model: tuple[tuple[str | None, Mapping[str, Json]], ...] = ()
        self._finished = False
        self._begun = False

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``. Asked for usage, OpenAI writes ``"usage":null`` into every chunk: that alone is nothing."""
        if not self._begun:
            self._begun = True
            return True
        if not data.endswith(b'"usage":null}') and b'usage"' in data and (b'"usage":null' not in data or b'usage":{' in data):
            return True
        if b'"finish_reason":"' in data or b'"finish_reason": "' in data or b'"error"' in data:
            return True
        return self.notes.refusal is None and b'"refusal":"' in data

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        if data.strip() == b"[DONE]":
            self.notes.ended = self._finished = True
            self.notes.final = self._usage is not None

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.body(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        notes.identity(payload)
        notes.term("service_tier", payload.get("service_tier"))
        if payload.get("error"):
            notes.failed(payload["error"])
        choices = payload.get("choices")
        choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        for choice in choices:
            if choice.get("finish_reason"):
                self._finished = notes.ended = True
                if choice["finish_reason"] in _FILTERED:
                    notes.refused(choice["finish_reason"])
            if member(choice, "message").get("refusal") or member(choice, "delta").get("refusal"):
                notes.refused("refusal")
            if choice.get("error"):
                notes.failed(choice["error"])
        usage = self._find_usage(payload, choices)
        if usage is not None:
            self._usage = usage = later(self._usage, usage)
            notes.keep_raw(usage)
            note_stated_cost(usage, notes)
            notes.term("service_tier", usage.get("service_tier"))
            if self._endpoint.provider == "perplexity":
                notes.term("search_context_size", usage.get("search_context_size"))
            self._by_model = _breakdown(payload) or self._by_model
        note_copilot_cost(payload, notes)
        self._note_deferred(payload)
        # A usage beside an unfinished choice is a running figure (Perplexity, DeepSeek), until the stream has ended in good order:
        # Snowflake writes neither finish reasons nor an end mark.
        notes.final = notes.final or (self._usage is not None and (self._finished or not choices))
        notes.ended = notes.ended or (usage is not None and not any("finish_reason" in choice for choice in choices))

    def _note_deferred(self, payload: Mapping[str, Json]) -> None:
        """xAI answers ``deferred: true`` with an id, under which the answer is read later: there it is billed.

        docs.x.ai/developers/advanced-api-usage/deferred-chat-completions.
        """
        notes = self.notes
        if self._endpoint.provider != "xai":
            return
        if self._endpoint.operation == RETRIEVE:
            asked = name(self._endpoint.path.rpartition("/")[2])
            notes.repeatable = True
            notes.results_of = (asked,) if asked and (self._usage is not None or notes.error) else ()
        elif "request_id" in payload and _UNDEFERRED.isdisjoint(payload):
            notes.response_id = name(payload["request_id"])
            notes.pending = notes.ended = True

    def _find_usage(self, payload: Mapping[str, Json], choices: list[Mapping[str, Json]]) -> Mapping[str, Json] | None:
        places = [payload.get("usage"), *(choice.get("usage") for choice in choices)]  # Moonshot: in the choice
        places.append(member(payload, "x_groq").get("usage"))  # Groq repeats it there; older answers hold only this one
        return next((place for place in places if isinstance(place, dict) and has_counts(place)), None)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if self._usage is None:
            return ()
        traits, flags = self._endpoint.traits, self.notes.flags
        model = self.notes.model or self._ask.model
        usage = inclusive_usage(self._usage, model, traits, flags)
        parts = tuple(inclusive_usage(part, served or model, traits, flags) for served, part in self._by_model)
        if parts and sum(map(_tokens, parts)) >= _tokens(usage):
            return parts
        if self._endpoint.operation in {"chat", RETRIEVE} and (searches := _searches(model)):
            usage = replace(usage, units={**usage.units, **searches})
        return (usage,)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        choices = payload.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            yield choice["text"] if isinstance(choice.get("text"), str) else ""
            for holder in (member(choice, "delta"), member(choice, "message")):
                yield from texts(
                    holder.get(key) for key in ("content", "reasoning_content", "reasoning", "refusal", "function_call")
                )
                calls = holder.get("tool_calls")
                yield from texts(member(call, "function") for call in (calls if isinstance(calls, list) else ()))


def _searches(model: str | None) -> Mapping[str, int]:
    """The search that a search model makes before each answer, billed besides (developers.openai.com/api/docs/pricing)."""
    found = _SEARCH_MODEL.search(model) if model else None
    return EMPTY if found is None else {SEARCH_PREVIEW if found[1] == "preview" else SEARCH: 1}


def _breakdown(payload: Mapping[str, Json]) -> tuple[tuple[str | None, Mapping[str, Json]], ...]:
    """What each model of Groq's compound systems used (groq-python, ``UsageBreakdown``); nothing where any of it is unclear."""
    listed = member(payload, "usage_breakdown").get("models")
    found = [(one, one.get("usage")) for one in listed[:_MAX_MODELS] if isinstance(one, dict)] if isinstance(listed, list) else []
    return tuple((model_name(one.get("model")), usage) for one, usage in found if isinstance(usage, dict) and has_counts(usage))


def _tokens(usage: Usage) -> int:
    return usage.total_input_tokens + usage.output_tokens


def _tokens_sent(body: Mapping[str, Json]) -> Iterator[int]:
    """How many tokens each array of them holds: embeddings and completions take text already encoded."""
    for key in ("input", "prompt"):
        tokens = body.get(key)
        if isinstance(tokens, list):
            for item in (tokens, *(inner for inner in tokens if isinstance(inner, list))):
                yield sum(1 for token in item if type(token) is int)


def _inputs(body: Mapping[str, Json]) -> tuple[Json, ...]:
    return (body.get("messages"), body.get("prompt"), body.get("input"), body.get("suffix"))
