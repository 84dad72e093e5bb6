"""Gateways whose answer has the shape of whoever answered: Cloudflare's universal endpoint, Braintrust's ``/auto``.

Reference: developers.cloudflare.com/ai-gateway/usage/universal (a list of attempts; the header ``cf-aig-step`` names the one that
answered), braintrust.dev/docs/guides/proxy. The first element that tells the shape decides which reader gets the answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, model_name, name, text
from tollkeeper.wire.dialect import AnswerReader, Answers, Dialect, Notes

from .anthropic_messages import AnthropicMessages
from .cohere import Cohere
from .gemini_generate import GeminiGenerate
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .workers_ai import WorkersAI

ATTEMPTS: Final = "attempts"
"""The key under which ``request`` hands over a body that is a list."""

MAX_ATTEMPTS: Final = 32
_CHAT, _RESPONSES, _MESSAGES = OpenAIChat(), OpenAIResponses(), AnthropicMessages()
_GEMINI, _COHERE, _WORKERS = GeminiGenerate(), Cohere(), WorkersAI()


class AnyShape:
    """The dialect ``any-shape``."""

    name = "any-shape"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. Of a list of attempts the first is what is asked, the others are what may answer instead."""
        attempts = _attempts(body)
        if not attempts:
            return _speaks(body).read_ask(endpoint, body)
        asks = [self._attempt(endpoint, attempt) for attempt in attempts]
        largest = max(asks, key=lambda ask: (ask.input_bytes, ask.max_output_tokens or 0))
        caps = [ask.max_output_tokens for ask in asks]
        return replace(
            asks[0],
            max_output_tokens=None if None in caps else max(cap for cap in caps if cap),
            input_bytes=largest.input_bytes,
            media_parts=max(ask.media_parts for ask in asks),
            fresh=all(ask.fresh for ask in asks),
            fallback_models=tuple(ask.model or "" for ask in asks[1:]),
        )

    def _attempt(self, endpoint: Endpoint, attempt: Mapping[str, Json]) -> Ask:
        query = attempt.get("query")
        query = query if isinstance(query, dict) else {}
        ask = _speaks(query).read_ask(endpoint, query)
        path = text(attempt.get("endpoint")).strip("/")
        found = (
            path.partition("models/")[2].partition(":")[0].partition("/")[0] or path if "@" in path or "models/" in path else ""
        )
        model, vendor = ask.model or model_name(found), name(attempt.get("provider"))
        return replace(ask, model=f"{vendor}/{model}" if vendor and model else model)

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``. The attempts carry the same question: the first stands for all."""
        attempts = _attempts(body)
        query = attempts[0].get("query") if attempts else body
        if isinstance(query, dict):
            yield from _speaks(query).prompt(endpoint, query)

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        return _speaks(body).cap_path(endpoint, body)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return AnyReader(endpoint, ask, headers)


class AnyReader:
    """Hands the answer to the reader of its shape. Until that is known, every element is looked at."""

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> None:
        self._endpoint, self._ask, self._headers = endpoint, ask, headers
        self._none = Notes()
        self._inner: AnswerReader | None = None
        self._vendor, self._model = self._served()

    @property
    def notes(self) -> Notes:
        """What the reader in charge has learned."""
        return self._inner.notes if self._inner else self._none

    @notes.setter
    def notes(self, notes: Notes) -> None:
        self._none = notes

    def _served(self) -> tuple[str, str | None]:
        """The vendor and model of the attempt that answered; of the first one where nothing tells and no other could have."""
        asked = (self._ask.model, *self._ask.fallback_models)
        step = self._headers.get("cf-aig-step", "" if len(asked) > 1 else "0")
        if not (step.isascii() and step.isdecimal() and len(step) < 4 and int(step) < len(asked)):
            self._none.flags.add("attempt-unknown")
            return "", None
        vendor, slash, model = (asked[int(step)] or "").partition("/")
        return (vendor, model) if slash and self._ask.fallback_models else ("", asked[int(step)])

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return self._inner is None or self._inner.wants(data)

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""
        if self._inner:
            self._inner.mark(data)
        elif data.strip() == b"[DONE]":
            self._none.ended = True

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self._chosen(payload).event(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self._chosen(payload).body(payload)

    def _chosen(self, payload: Mapping[str, Json]) -> AnswerReader:
        if self._inner is None:
            ask = replace(self._ask, model=self._model, fallback_models=())
            self._inner = _answers(payload).reader(self._endpoint, ask, self._headers)
            self._inner.notes.flags |= self._none.flags
        return self._inner

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. Behind a list of attempts the model is named with its vendor, who decides about the price."""
        if self._inner is None:
            return ()
        calls = self._inner.calls()
        if not self._vendor:
            return calls
        return tuple(replace(call, model=f"{self._vendor}/{call.model or self._model}") for call in calls)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from self._chosen(payload).visible(payload)


def _attempts(body: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    found = body.get(ATTEMPTS)
    return [one for one in found[:MAX_ATTEMPTS] if isinstance(one, dict)] if isinstance(found, list) else []


def _speaks(query: Mapping[str, Json]) -> Dialect:
    """The dialect of a request, by its keys."""
    if "contents" in query:
        return _GEMINI
    if "message" in query or "texts" in query:
        return _COHERE
    if "messages" in query:
        return _MESSAGES if "system" in query or "anthropic_version" in query else _CHAT
    return _RESPONSES if "input" in query and ("instructions" in query or isinstance(query["input"], list)) else _CHAT


def _answers(payload: Mapping[str, Json]) -> Dialect:
    """The dialect of an answer, by its first element."""
    kind = text(payload.get("type"))
    if "candidates" in payload or "usageMetadata" in payload or "promptFeedback" in payload:
        return _GEMINI
    if kind.startswith("response.") or payload.get("object") == "response":
        return _RESPONSES
    if kind in {"message", "ping"} or kind.startswith(("message_", "content_block_")):
        return _MESSAGES
    if "event_type" in payload or "response_id" in payload or kind.startswith(("message-", "content-")):
        return _COHERE
    if "success" in payload or isinstance(payload.get("response"), str):
        return _WORKERS
    return _CHAT
