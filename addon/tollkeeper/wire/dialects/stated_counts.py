"""Native APIs of model servers that write their counts beside the text: llama.cpp, text-generation-inference, DeepInfra, Aleph Alpha.

References: github.com/ggml-org/llama.cpp (server), huggingface.co/docs/text-generation-inference, deepinfra.com/docs (``inference_status``
states the price), docs.aleph-alpha.com.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, decimal, has_count, member, name
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_IN: Final = ("tokens_evaluated", "num_tokens_prompt_total", "tokens_input", "num_input_tokens", "input_tokens", "prefill_tokens")
_OUT: Final = ("tokens_predicted", "num_tokens_generated", "tokens_generated", "num_output_tokens", "generated_tokens")


class StatedCounts(FlatDialect):
    """The dialect ``stated-counts``."""

    name = "stated-counts"
    inputs = ("prompt", "inputs", "input", "input_prefix", "input_suffix", "queries", "documents", "system_prompt", "content")
    schemas = ()
    caps = (("n_predict",), ("max_new_tokens",), ("maximum_tokens",), ("parameters", "max_new_tokens"))

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``. A server that holds one model is not told which: it goes by its own name."""
        ask = super().read_ask(endpoint, body)
        return ask if ask.model else replace(ask, model=endpoint.provider)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return StatedCountsReader(endpoint, ask, headers)


class StatedCountsReader(FlatReader):
    """Reads one answer: the last of its counts."""

    probes = (b"token", b'"error"', b'"stop":true')

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> None:
        super().__init__(endpoint, ask)
        told = {"prefill_tokens": headers.get("x-prompt-tokens"), "generated_tokens": headers.get("x-generated-tokens")}
        if any(decimal(value) is not None for value in told.values()):
            self.keep({key: value for key, value in told.items() if value is not None})

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        notes.identity(payload, id_key="request_id")
        if payload.get("error"):
            notes.failed(payload["error"])
        status = member(payload, "inference_status")
        notes.cost(status.get("cost"))
        notes.cost(payload.get("estimated_cost"))
        for holder in (payload, member(payload, "details"), status):
            if any(has_count(holder, key) for key in (*_IN, *_OUT)):
                self.keep({**self.usage, **{key: holder[key] for key in (*_IN, *_OUT) if has_count(holder, key)}})
        over = payload.get("stop") is True or name(member(payload, "details").get("finish_reason")) is not None
        notes.ended = notes.ended or over
        notes.final = notes.final or (over and bool(self.usage))

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        flags = self.notes.flags
        if not self.usage:
            return ()
        read, written = (
            next((count(self.usage[key], flags) for key in keys if has_count(self.usage, key)), 0) for keys in (_IN, _OUT)
        )
        return (Usage(model=self.model, input_tokens=read, output_tokens=written),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from texts(
            (payload.get("content"), payload.get("generated_text"), payload.get("results"), payload.get("completions"))
        )
        token = member(payload, "token")
        if not payload.get("generated_text"):  # a TGI stream's last event says everything again
            yield from texts((token.get("text"),))
