"""Anthropic Messages, at Anthropic, on AWS, Azure and Vertex, and where others imitate it.

Reference: docs.anthropic.com/en/api/messages, /en/api/messages-streaming; counts exclude the cache (docs/wire.md, "Counting").
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.reading_asks import SEARCHES_UNBOUNDED, effort_of, fallback_models, positive
from tollkeeper.wire.stated_cost import note_copilot_cost, note_stated_cost

_TERMS = ("service_tier", "inference_geo", "speed")
_SERVED = ("message", "fallback_message")
_FREE_TOOLS = frozenset({"web_fetch_requests", "tool_search_requests"})
"""Server tools without a fee of their own (docs.anthropic.com/en/docs/about-claude/pricing)."""

_MAX_ITERATIONS = 256
_COUNTS_IN = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_COUNTS = (*_COUNTS_IN, "output_tokens")


class AnthropicMessages:
    """The dialect ``anthropic-messages``."""

    name = "anthropic-messages"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        material = weigh((body.get("system"), body.get("messages")))
        tools = body.get("tools")
        ttl = material.cache_write_ttl
        if ttl != "1h":
            marks = weigh((tools, {"cache_control": body.get("cache_control")}))
            ttl = marks.cache_write_ttl or ttl
        messages = body.get("messages")
        history = messages if isinstance(messages, list) else []
        return Ask(
            model=model_name(body.get("model")) or endpoint.model_in_path,
            streamed=body.get("stream") is True,
            max_output_tokens=positive(body.get("max_tokens")) or positive(body.get("max_tokens_to_sample")),
            fresh=not any(isinstance(turn, dict) and turn.get("role") == "assistant" for turn in history),
            input_bytes=material.text_bytes + len(schema_text(tools).encode("utf-8", "replace")),
            media_parts=material.media_parts,
            cache_write_ttl=ttl,
            service_tier=name(body.get("service_tier")),
            effort=effort_of(member(body, "output_config").get("effort"), member(body, "thinking").get("budget_tokens")),
            fallback_models=fallback_models({"model": body.get("model"), "models": _others(body)}),
            server_tools=_server_tools(tools),
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from texts((body.get("system"), body.get("messages")))
        yield schema_text(body.get("tools"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return ("max_tokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return MessagesReader(endpoint, ask)


class MessagesReader:
    """Reads one answer: ``message_start`` overlaid, field by field, by every ``message_delta``; figures are cumulative."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self._ask = ask
        self._usage: dict[str, Json] = {}

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return b'"usage"' in data or b'"message_stop"' in data or b'"error"' in data

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        kind = payload.get("type")
        if kind == "message_start":
            message = member(payload, "message")
            self.notes.identity(message)
            self._overlay(message.get("usage"))
        elif kind == "message_delta":
            self._overlay(payload.get("usage"))
            note_copilot_cost(payload, self.notes)
            stopped = member(payload, "delta").get("stop_reason")
            if stopped == "refusal":  # docs.claude.com, handling stop reasons: what came before it is billed, as the usage says
                self.notes.refused(stopped)
            self.notes.final = self.notes.final or (bool(stopped) and isinstance(payload.get("usage"), dict))
        elif kind == "message_stop":
            self.notes.ended = True
            # A recorded minority of hosts puts usage on message_stop; after it nothing follows in any case.
            self._overlay(payload.get("usage"))
            self.notes.final = self.notes.final or bool(self._usage)
        elif kind == "error":
            self.notes.failed(payload.get("error"))

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.notes.identity(payload)
        if payload.get("type") == "error" or payload.get("error"):
            self.notes.failed(payload.get("error"))
        if payload.get("stop_reason") == "refusal":
            self.notes.refused("refusal")
        self._overlay(payload.get("usage"))
        note_copilot_cost(payload, self.notes)
        self.notes.ended = True
        self.notes.final = bool(self._usage)

    def _overlay(self, usage: Json) -> None:
        if not isinstance(usage, dict):
            return
        stated = {key: value for key, value in usage.items() if value is not None}
        if self._usage:
            self._keep_what_was_read(stated)
        self._usage.update(stated)
        if not any(has_count(self._usage, key) for key in _COUNTS):
            self._usage.clear()
            return
        notes = self.notes
        for key in _TERMS:
            notes.term(key, usage.get(key))
        notes.keep_raw(self._usage)
        note_stated_cost(self._usage, notes)

    def _keep_what_was_read(self, stated: dict[str, Json]) -> None:
        """Figures are cumulative: what went in is never taken back by zeros, as some who imitate the API write them at the end."""
        counts = {key: count(stated.get(key), set()) for key in _COUNTS_IN}
        if not any(counts.values()):
            for key in _COUNTS_IN:
                stated.pop(key, None)
        elif "cache_creation" not in stated and "cache_creation_input_tokens" in stated:
            created = member(self._usage, "cache_creation")
            if sum(count(value, set()) for value in created.values()) > counts["cache_creation_input_tokens"]:
                self._usage.pop("cache_creation", None)  # of an earlier moment: the newer sum is less

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. ``iterations`` names every billed sampling, some at models of their own; else there is one."""
        if not self._usage:
            return ()
        model = self.notes.model or self._ask.model
        whole = self._one(self._usage, model)
        entries = self._usage.get("iterations")
        entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        if not entries:
            return (whole,)
        if len(entries) > _MAX_ITERATIONS:
            self.notes.flags.add("too-many-iterations")
            entries = entries[:_MAX_ITERATIONS]
        return self._iterations(entries, whole, model)

    def _iterations(self, entries: list[Mapping[str, Json]], whole: Usage, model: str | None) -> tuple[Usage, ...]:
        fell_back = any(entry.get("type") == "fallback_message" for entry in entries)
        calls: list[Usage] = []
        served: list[int] = []
        for entry in entries:
            kind = name(entry.get("type", "message"))
            usage = self._one(entry, model_name(entry.get("model")) or model)
            if fell_back and kind == "message" and not usage.output_tokens:
                continue  # a model that declined is not billed (docs.anthropic.com, fallback models)
            if kind in _SERVED:
                served.append(len(calls))
            calls.append(usage)
        if not served:  # only what comes on top was itemised
            return (whole, *calls)
        last = served[-1]
        shown = calls[last]
        reasoning = shown.reasoning_tokens or min(whole.reasoning_tokens, shown.output_tokens)
        calls[last] = replace(shown, reasoning_tokens=reasoning, units=shown.units or whole.units)
        billed = sum(calls[index].output_tokens for index in served)
        if billed != whole.output_tokens:
            self.notes.flags.add("iterations-differ-from-total")
            if (
                len(served) == 1 and billed < whole.output_tokens
            ):  # a list of an earlier moment: what it names is the whole answer
                calls[last] = replace(whole, model=calls[last].model)
        return tuple(calls)

    def _one(self, usage: Mapping[str, Json], model: str | None) -> Usage:
        flags = self.notes.flags
        created = member(usage, "cache_creation")
        long_write = count(created.get("ephemeral_1h_input_tokens"), flags)
        short_write = count(created.get("ephemeral_5m_input_tokens"), flags)
        written = count(usage.get("cache_creation_input_tokens"), flags)
        output = count(usage.get("output_tokens"), flags)
        thinking = count(member(usage, "output_tokens_details").get("thinking_tokens"), flags)
        return Usage(
            model=model,
            input_tokens=count(usage.get("input_tokens"), flags),
            cache_read_tokens=count(usage.get("cache_read_input_tokens"), flags),
            cache_write_5m_tokens=max(short_write, written - long_write),
            cache_write_1h_tokens=long_write,
            output_tokens=output,
            reasoning_tokens=min(thinking, output),
            units=self._tool_units(usage),
        )

    def _tool_units(self, usage: Mapping[str, Json]) -> dict[str, int]:
        used = member(usage, "server_tool_use")
        billed = [key for key in used if key.endswith("_requests") and key not in _FREE_TOOLS and name(key)]
        return {key: found for key in billed[:16] if (found := count(used[key], self.notes.flags))}

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        delta = member(payload, "delta")
        yield from texts(delta.get(key) for key in ("text", "thinking", "partial_json"))
        for block in (member(payload, "content_block"), *_blocks(payload.get("content"))):
            yield from texts(block.get(key) for key in ("text", "thinking", "name", "input"))


def _blocks(content: Json) -> list[Mapping[str, Json]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _others(body: Mapping[str, Json]) -> list[Json]:
    """Models that may answer besides: those to fall back to, and an advisor's (docs.claude.com, server-side fallback, advisor tool)."""
    fallbacks, tools = body.get("fallbacks"), body.get("tools")
    if not fallbacks and not isinstance(tools, list):
        return []
    named = [one.get("model") if isinstance(one, dict) else one for one in (fallbacks if isinstance(fallbacks, list) else ())]
    advisors = [
        tool["model"] for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict) and "model" in tool
    ]
    return [*named, *advisors]


def _server_tools(tools: Json) -> int:
    total = 0
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and str(tool.get("type", "")).startswith("web_search"):
            total += positive(tool.get("max_uses")) or SEARCHES_UNBOUNDED
    return min(total, 1000)
