"""Gemini ``generateContent`` and ``streamGenerateContent``: the Gemini API, Vertex AI, and Code Assist (wrapped).

Reference: ai.google.dev/api/generate-content#UsageMetadata. Field names come in camel and in snake case: protobuf JSON takes both.
"""

from collections.abc import Iterator, Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, name
from tollkeeper.wire.dialect import AnswerReader, Answers, Notes
from tollkeeper.wire.material import schema_text, texts, weigh
from tollkeeper.wire.reading_asks import SEARCHES_UNBOUNDED, at_least_one, positive
from tollkeeper.wire.traits import WRAPPED

_COUNTS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount")
_KINDS = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}


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
        model = name(body.get("model"))
        schemas = schema_text(request.get("tools")) + schema_text(
            config.get("responseSchema") or config.get("responseJsonSchema")
        )
        return Ask(
            model=model.removeprefix("models/") if model else endpoint.model_in_path,
            streamed="stream" in endpoint.operation or endpoint.path.endswith(":streamGenerateContent"),
            max_output_tokens=positive(config.get("maxOutputTokens")) or positive(config.get("max_output_tokens")),
            choices=max(at_least_one(config.get("candidateCount")), at_least_one(config.get("candidate_count"))),
            fresh=not any(isinstance(turn, dict) and turn.get("role") == "model" for turn in turns)
            and not (request.get("cachedContent") or request.get("cached_content")),
            input_bytes=material.text_bytes + len(schemas.encode("utf-8", "replace")),
            media_parts=material.media_parts,
            service_tier=name(request.get("serviceTier")) or name(request.get("service_tier")),
            server_tools=_server_tools(request.get("tools"), endpoint.model_in_path or model or ""),
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
        return GenerateReader(endpoint, ask)


class GenerateReader:
    """Reads one answer: the last usage with counts wins; counters may fall between built-in tool rounds."""

    def __init__(self, endpoint: Endpoint, ask: Ask) -> None:
        self.notes = Notes()
        self._wrapped = WRAPPED in endpoint.traits
        self._ask = ask
        self._model = endpoint.model_in_path
        self._usage: Mapping[str, Json] | None = None
        self._queries: frozenset[str] = frozenset()
        self._finished = False

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
                self._finished = self._finished or bool(candidate.get("finishReason"))
                self._note_searches(member(candidate, "groundingMetadata").get("webSearchQueries"))
        if member(payload, "promptFeedback").get("blockReason"):
            self._finished = True
        self._take(payload.get("usageMetadata"))
        notes.ended = self._finished
        notes.final = self._finished and self._usage is not None

    def _take(self, usage: Json) -> None:
        if not isinstance(usage, dict):
            return
        self.notes.term("traffic_type", usage.get("trafficType"))
        self.notes.term("service_tier", usage.get("serviceTier"))
        if any(has_count(usage, key) for key in _COUNTS):  # early chunks of Vertex hold a trafficType and nothing else
            self._usage = usage
            self.notes.keep_raw(usage)

    def _note_searches(self, queries: Json) -> None:
        if isinstance(queries, list) and queries:
            self._queries |= {query for query in queries[:100] if isinstance(query, str) and query}

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``. Thoughts and tool prompts stand beside the other counts; the cache stands inside the prompt."""
        usage, flags = self._usage, self.notes.flags
        if usage is None:
            return ()
        prompt = count(usage.get("promptTokenCount"), flags)
        cached = count(usage.get("cachedContentTokenCount"), flags)
        tool_use = count(usage.get("toolUsePromptTokenCount"), flags)
        thoughts = count(usage.get("thoughtsTokenCount"), flags)
        answer = count(usage.get("candidatesTokenCount"), flags)
        if cached > prompt:
            flags.add("cached-over-prompt")
        total = count(usage.get("totalTokenCount"), flags)
        if total and total != prompt + answer + thoughts + tool_use:
            flags.add("total-differs")
        model = self.notes.model or self._model or self._ask.model
        return (
            Usage(
                model=model,
                input_tokens=max(0, prompt - cached) + tool_use,
                cache_read_tokens=cached,
                output_tokens=answer + thoughts,
                reasoning_tokens=thoughts,
                units=self._units(usage, model or ""),
            ),
        )

    def _units(self, usage: Mapping[str, Json], model: str) -> dict[str, int]:
        flags = self.notes.flags
        prompt = _by_kind(usage.get("promptTokensDetails"), flags)
        tool_use = _by_kind(usage.get("toolUsePromptTokensDetails"), flags)
        cached = _by_kind(usage.get("cacheTokensDetails"), flags)
        answer = _by_kind(usage.get("candidatesTokensDetails"), flags)
        units: dict[str, int] = {}
        for kind in _KINDS.values():
            units[f"{kind}_input_tokens"] = max(0, prompt.get(kind, 0) - cached.get(kind, 0)) + tool_use.get(kind, 0)
            units[f"{kind}_cache_read_tokens"] = cached.get(kind, 0)
            units[f"{kind}_output_tokens"] = answer.get(kind, 0)
        if self._queries:
            # Gemini 3 bills each query, older ones each grounded prompt (ai.google.dev/gemini-api/docs/google-search).
            units["web_search_requests"] = len(self._queries) if _bills_queries(model) else 1
        return {unit: found for unit, found in units.items() if found}

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


def _bills_queries(model: str) -> bool:
    generation = model.removeprefix("models/").removeprefix("gemini-")[:1]
    return generation.isdigit() and int(generation) >= 3


def _by_kind(details: Json, flags: set[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in details[:16] if isinstance(details, list) else ():
        kind = _KINDS.get(str(item.get("modality")).upper()) if isinstance(item, dict) else None
        if kind:
            counts[kind] = counts.get(kind, 0) + count(item.get("tokenCount"), flags)
    return counts


def _request(endpoint: Endpoint, body: Mapping[str, Json]) -> Mapping[str, Json]:
    return member(body, "request") if WRAPPED in endpoint.traits else body


def _either(body: Mapping[str, Json], camel: str, snake: str) -> Mapping[str, Json]:
    return member(body, camel) or member(body, snake)


def _inputs(request: Mapping[str, Json]) -> tuple[Json, ...]:
    return (request.get("contents"), request.get("systemInstruction"), request.get("system_instruction"))


def _server_tools(tools: Json, model: str) -> int:
    search = ("googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval")
    asked = any(
        isinstance(tool, dict) and any(key in tool for key in search) for tool in (tools if isinstance(tools, list) else ())
    )
    return (SEARCHES_UNBOUNDED if _bills_queries(model) else 1) if asked else 0
