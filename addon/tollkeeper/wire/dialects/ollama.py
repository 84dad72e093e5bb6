"""Ollama's own API: chat, generate, embed and the older embeddings, on a machine of one's own or at ollama.com.

Reference: docs.ollama.com/api, docs.ollama.com/api/usage. Streams are JSON lines, and the default; figures stand on the last one.
``prompt_eval_cached_count`` is a part of ``prompt_eval_count``, which older versions leave out when the whole prompt was cached.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, model_name
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_COUNTS = ("prompt_eval_count", "eval_count", "prompt_eval_cached_count")


class Ollama(FlatDialect):
    """The dialect ``ollama``."""

    name = "ollama"
    inputs = ("messages", "prompt", "system", "suffix", "template", "input")
    schemas = ("tools", "format")
    caps = (("options", "num_predict"),)
    streams_unless_told = True

    def request(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """The body without its pictures, which are bare base64."""
        messages = body.get("messages")
        if not isinstance(messages, list):
            return body
        bare = [{key: turn[key] for key in turn if key != "images"} if isinstance(turn, dict) else turn for turn in messages]
        return {**body, "messages": bare}

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        ask = super().read_ask(endpoint, body)
        messages = body.get("messages")
        holders = [body, *(turn for turn in messages if isinstance(turn, dict))] if isinstance(messages, list) else [body]
        pictures = sum(len(holder["images"]) for holder in holders if isinstance(holder.get("images"), list))
        goes_on = bool(body.get("context"))  # the tokens of an earlier answer
        streamed = ask.streamed and endpoint.operation != "embeddings"
        return replace(ask, streamed=streamed, media_parts=ask.media_parts + pictures, fresh=ask.fresh and not goes_on)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return OllamaReader(endpoint, ask)


class OllamaReader(FlatReader):
    """Reads one answer: the figures beside ``done``."""

    probes = (b'"done":true', b'"done": true', b"eval_count", b'"error"')

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        notes.model = model_name(payload.get("model")) or notes.model
        if payload.get("error"):
            notes.failed(payload["error"])
        if any(has_count(payload, key) for key in _COUNTS):
            self.keep({key: payload[key] for key in _COUNTS if key in payload})
        if payload.get("done") is True:
            notes.ended = True
            notes.final = bool(self.usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if not self.usage:
            return ()
        flags = self.notes.flags
        read, cached = count(self.usage.get(_COUNTS[0]), flags), count(self.usage.get(_COUNTS[2]), flags)
        if cached > read:
            flags.add("cached-over-prompt")
        return (
            Usage(
                model=self.model,
                input_tokens=max(0, read - cached),
                cache_read_tokens=cached,
                output_tokens=count(self.usage.get(_COUNTS[1]), flags),
            ),
        )

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        message = member(payload, "message")
        yield from texts((payload.get("response"), payload.get("thinking")))
        yield from texts(message.get(key) for key in ("content", "thinking", "tool_calls"))
