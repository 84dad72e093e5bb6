"""Gemini ``generateContent`` and ``streamGenerateContent``: the Gemini API, Vertex AI, and Code Assist (wrapped).

Reference: ai.google.dev/api/generate-content#UsageMetadata. Field names come in camel and in snake case: protobuf JSON takes both.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import EMPTY_TERMS, Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, model_name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.reading_asks import at_least_one, effort_in, positive
from tollkeeper.wire.traits import WRAPPED

from .gemini_counts import (
    ENTERPRISE,
    MAPS,
    RETRIEVAL,
    SEARCH,
    TIER_HEADER,
    bills_queries,
    disjoint,
    note_tier,
    tier,
    tool_fees,
)

_FIGURES = {
    "prompt": "promptTokenCount",
    "cached": "cachedContentTokenCount",
    "tool_use": "toolUsePromptTokenCount",
    "thoughts": "thoughtsTokenCount",
    "answer": "candidatesTokenCount",
}
_DETAILS = {
    "prompt": "promptTokensDetails",
    "cached": "cacheTokensDetails",
    "tool_use": "toolUsePromptTokensDetails",
    "answer": "candidatesTokensDetails",
}
_COUNTS = (*(key for side, key in _FIGURES.items() if side != "cached"), "totalTokenCount")
_MAX_CHUNKS = 1000
_FILTERED = frozenset(
    {
        "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    }
)  # fmt: skip
"""Finish reasons by which a filter ended the answer (ai.google.dev/api/generate-content#FinishReason)."""


class GeminiGenerate:
    """The dialect ``gemini-generate``."""

    name = "gemini-generate"
    answers = Answers.AUTO

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        request = _request(endpoint, body)
        material = weigh(_inputs(request))
        config = _either(request, "generationConfig", "generation_config")
        contents = request.get("contents")
        turns = contents if isinstance(contents, list) else []
        model = model_name(body.get("model"))
        schemas = schema_text(request.get("tools")) + schema_text(
            config.get("responseSchema") or config.get("responseJsonSchema")
        )
        fees = tool_fees(request.get("tools"), endpoint.model_in_path or model or "")
        return Ask(
            model=model.removeprefix("models/") if model else endpoint.model_in_path,
            streamed="stream" in endpoint.operation or endpoint.path.endswith(":streamGenerateContent"),
            max_output_tokens=positive(config.get("maxOutputTokens")) or positive(config.get("max_output_tokens")),
            choices=max(at_least_one(config.get("candidateCount")), at_least_one(config.get("candidate_count"))),
            fresh=not any(isinstance(turn, dict) and turn.get("role") == "model" for turn in turns)
            and not (request.get("cachedContent") or request.get("cached_content")),
            input_bytes=material.text_bytes + len(schemas.encode("utf-8", "replace")),
            media_parts=material.media_parts,
            service_tier=tier(request.get("serviceTier")) or tier(request.get("service_tier")),
            effort=effort_in(config),
            server_tools=fees.pop(SEARCH, 0),
            units=fees,
        )

    def prompt(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Iterator[str]:
        """See ``Dialect``."""
        request = _request(endpoint, body)
        yield from texts(_inputs(request))
        yield schema_text(request.get("tools"))

    def cap_path(self, endpoint: Endpoint, body: Mapping[str, Json]) -> tuple[str, ...]:
        """See ``Dialect``."""
        request = _request(endpoint, body)
        outer = "generation_config" if "generation_config" in request else "generationConfig"
        inner = "max_output_tokens" if "max_output_tokens" in member(request, outer) else "maxOutputTokens"
        return (*(("request",) if WRAPPED in endpoint.traits else ()), outer, inner)

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return GenerateReader(endpoint, ask, headers)


class GenerateReader:
    """Reads one answer: the last usage with counts wins; counters may fall between built-in tool rounds."""

    def __init__(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str] = EMPTY_TERMS) -> None:
        self.notes = Notes()
        note_tier(self.notes, headers.get(TIER_HEADER))
        self._wrapped = WRAPPED in endpoint.traits
        self._ask = ask
        self._model = endpoint.model_in_path
        self._usage: Mapping[str, Json] | None = None
        self._queries: frozenset[str] = frozenset()
        self._from_maps = False
        self._from_own_data = False
        self._finished = False
        self._going_on: set[int] = set()
        """Candidates that have said something since they last finished: between rounds of built-in tools each finishes more than once."""

    def wants(self, data: bytes) -> bool:
        """See ``AnswerReader``."""
        return b'"usageMetadata"' in data or b'"finishReason"' in data or b'"promptFeedback"' in data or b'"error"' in data

    def mark(self, data: bytes) -> None:
        """See ``AnswerReader``."""

    def event(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        self.body(payload)

    def body(self, payload: Mapping[str, Json]) -> None:
        """See ``AnswerReader``."""
        notes = self.notes
        if payload.get("error"):
            notes.failed(payload["error"])
        if self._wrapped and isinstance(payload.get("response"), dict):
            payload = payload["response"]
        notes.identity(payload, "modelVersion", "responseId")
        candidates = payload.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                reason = candidate.get("finishReason")
                self._finished = self._finished or bool(reason)
                index = candidate.get("index")
                (self._going_on.discard if reason else self._going_on.add)(index if type(index) is int and 0 <= index < 8 else 0)
                if isinstance(reason, str) and reason in _FILTERED:
                    notes.refused(reason)
                self._note_grounding(member(candidate, "groundingMetadata"))
        if blocked := member(payload, "promptFeedback").get("blockReason"):
            self._finished = True
            notes.refused(blocked)
        self._take(payload.get("usageMetadata"))
        notes.ended = self._finished
        notes.final = self._finished and not self._going_on and self._usage is not None

    def _take(self, usage: Json) -> None:
        if not isinstance(usage, dict):
            return
        self.notes.term("traffic_type", usage.get("trafficType"))
        note_tier(self.notes, usage.get("serviceTier"))
        if any(has_count(usage, key) for key in _COUNTS):  # early chunks of Vertex hold a trafficType and nothing else
            self._usage = usage
            self.notes.keep_raw(usage)

    def _note_grounding(self, grounding: Mapping[str, Json]) -> None:
        for key in ("webSearchQueries", "imageSearchQueries"):
            queries = grounding.get(key)
            if isinstance(queries, list) and queries:
                self._queries |= {query for query in queries[:100] if isinstance(query, str) and query}
        chunks = grounding.get("groundingChunks")
        maps = any(isinstance(one, dict) and "maps" in one for one in (chunks[:_MAX_CHUNKS] if isinstance(chunks, list) else ()))
        self._from_maps = self._from_maps or maps or bool(grounding.get("googleMapsWidgetContextToken"))
        self._from_own_data = self._from_own_data or bool(grounding.get("retrievalQueries"))

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. Thoughts and tool prompts stand beside the other counts; the cache stands inside the prompt."""
        usage, flags = self._usage, self.notes.flags
        if usage is None:
            return ()
        figures = {side: count(usage.get(key), flags) for side, key in _FIGURES.items()}
        total = count(usage.get("totalTokenCount"), flags)
        if total and total != sum(figures.values()) - figures["cached"]:
            flags.add("total-differs")
        model = self.notes.model or self._model or self._ask.model
        details = {side: usage.get(key) for side, key in _DETAILS.items()}
        return (disjoint(figures, details, model, self._fees(model or ""), flags),)

    def _fees(self, model: str) -> dict[str, int]:
        """Gemini 3 bills each query, older ones each grounded prompt (ai.google.dev/gemini-api/docs/google-search)."""
        asked = self._ask.units
        queries = len(self._queries) if bills_queries(model) else min(len(self._queries), 1)
        only_maps = MAPS in asked and not self._ask.server_tools and ENTERPRISE not in asked
        if self._from_maps and only_maps:
            return {MAPS: max(1, queries)}
        fees = {ENTERPRISE if ENTERPRISE in asked else SEARCH: queries}
        if self._from_maps:
            fees[MAPS] = 1
        if self._from_own_data and RETRIEVAL in asked:
            fees[RETRIEVAL] = 1
        return fees

    def visible(self, payload: Mapping[str, Json]) -> Iterator[str]:
        """See ``AnswerReader``."""
        if self._wrapped and isinstance(payload.get("response"), dict):
            payload = payload["response"]
        candidates = payload.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            parts = member(member({"": candidate}, ""), "content").get("parts")
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    code = member(part, "executableCode").get("code")
                    yield from texts((part.get("text"), part.get("functionCall"), code))


def _request(endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
    return member(body, "request") if WRAPPED in endpoint.traits else body


def _either(body: Mapping[str, Json], camel: str, snake: str) -> Mapping[str, Json]:
    return member(body, camel) or member(body, snake)


def _inputs(request: Mapping[str, Json]) -> tuple[Json, ...]:
    return (request.get("contents"), request.get("systemInstruction"), request.get("system_instruction"))
