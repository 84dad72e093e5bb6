"""Bedrock's ApplyGuardrail: a check without a model, billed by the text unit (1,000 characters) and policy.

Reference: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, member
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes

from .bedrock_shapes import block_texts, guardrail_units, weigh_blocks

MODEL = "amazon.guardrails"
"""The name under which guardrails are priced (``pricing/gaps.toml``); Amazon gives them none."""


class BedrockGuardrail:
    """The dialect ``bedrock-guardrail``."""

    name = "bedrock-guardrail"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        material = weigh_blocks((body.get("content"),))
        return Ask(model=MODEL, input_bytes=material.text_bytes, media_parts=material.media_parts)

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        yield from block_texts((body.get("content"),))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``. There is no output to cap: a key that Amazon passes over."""
        return ("maxTokens",)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return GuardrailReader()


class GuardrailReader:
    """Reads one answer: ``usage`` states the units of each policy."""

    def __init__(self) -> None:
        self.notes = Notes(model=MODEL)
        self._usage: Mapping[str, Json] | None = None

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return False

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.notes.ended = True
        if usage := member(payload, "usage"):
            self._usage = usage
            self.notes.final = True
            self.notes.keep_raw(usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if self._usage is None:
            return ()
        return (Usage(model=MODEL, units=guardrail_units(self._usage, self.notes.flags)),)

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        yield from ()
