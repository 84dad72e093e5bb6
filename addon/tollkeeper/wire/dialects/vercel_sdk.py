"""The AI SDK's own protocol to Vercel's gateway: ``/v3/ai/language-model`` and its like.

Source: github.com/vercel/ai, packages/gateway. The request names its model in a header (``ai-language-model-id``; others ``ai-model-id``).
Figures stand in the ``finish`` part, in three generations of shapes; what is billed in ``providerMetadata.gateway``: ``cost`` is the
inference, ``gatewayCost`` the same with the gateway's own surcharges.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, model_name, name
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.material import texts

from .flat import FlatDialect, FlatReader

_COUNTS = ("inputTokens", "outputTokens", "promptTokens", "completionTokens", "tokens", "totalTokens")


class VercelSDK(FlatDialect):
    """The dialect ``vercel-sdk``."""

    name = "vercel-sdk"
    inputs = ("prompt", "input", "values", "query", "documents", "text", "instructions")
    turns = ("prompt",)
    caps = (("maxOutputTokens",), ("maxTokens",))

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return VercelReader(endpoint, ask)


class VercelReader(FlatReader):
    """Reads one answer."""

    probes = (b'"usage"', b'"error"', b'"response-metadata"', b'"gateway"', b'"finish"')

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        super().__init__(endpoint, ask)
        self._pictures = 0

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        notes = self.notes
        kind = payload.get("type")
        if kind == "error" or payload.get("error"):
            notes.failed(payload.get("error") or "error")
        for holder in (payload if kind == "response-metadata" else {}, member(payload, "response")):
            notes.identity(holder, "modelId")
        gateway = member(member(payload, "providerMetadata"), "gateway")
        routing = member(gateway, "routing")
        notes.model = model_name(routing.get("canonicalSlug")) or model_name(routing.get("originalModelId")) or notes.model
        notes.response_id = name(gateway.get("generationId")) or notes.response_id
        notes.cost(gateway.get("gatewayCost") if gateway.get("gatewayCost") is not None else gateway.get("cost"))
        usage = payload.get("usage")
        if isinstance(usage, dict) and any(has_count(usage, key) for key in _COUNTS):
            self.keep(usage)
        images = payload.get("images")
        self._pictures = len(images) if isinstance(images, list) else self._pictures
        if kind == "finish":
            notes.ended = True
            notes.final = bool(self.usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if self.usage:
            return (_usage(self.usage, self.model, self.notes.flags),)
        if self._pictures or self.notes.cost_usd is not None:
            return (Usage(model=self.model, units={"output_images": self._pictures} if self._pictures else {}),)
        return ()

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        if str(payload.get("type")).endswith("-delta"):
            yield from texts((payload.get("delta"), payload.get("textDelta"), payload.get("argsTextDelta")))
        yield from texts((payload.get("content"), payload.get("text")))


def _usage(usage: Mapping[str, Json], model: str | None, flags: set[str]) -> Usage:
    """Generation 3 nests the kinds; the ones before wrote ``cachedInputTokens`` and ``reasoningTokens`` beside the totals."""
    read, written = member(usage, "inputTokens"), member(usage, "outputTokens")
    if read or written:
        cached, stored = count(read.get("cacheRead"), flags), count(read.get("cacheWrite"), flags)
        whole, output = count(read.get("total"), flags), count(written.get("total"), flags)
        reasoning = count(written.get("reasoning"), flags)
    else:
        whole = next((count(usage[key], flags) for key in ("inputTokens", "promptTokens", "tokens") if has_count(usage, key)), 0)
        output = next((count(usage[key], flags) for key in ("outputTokens", "completionTokens") if has_count(usage, key)), 0)
        cached, stored = count(usage.get("cachedInputTokens"), flags), 0
        reasoning = count(usage.get("reasoningTokens"), flags)
    if cached + stored > whole:
        flags.add("cached-over-prompt")
    return Usage(
        model=model,
        input_tokens=max(0, whole - cached - stored),
        cache_read_tokens=cached,
        cache_write_5m_tokens=stored,
        output_tokens=output,
        reasoning_tokens=min(reasoning, output),
    )
