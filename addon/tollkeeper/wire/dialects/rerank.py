"""Rerank as Voyage, Jina, Together, vLLM and others serve it: tokens, or searches where they bill those.

References: docs.voyageai.com/reference/reranker-api, jina.ai/reranker, docs.together.ai/reference/rerank, docs.cohere.com/reference/rerank.
"""

from collections.abc import Mapping
from dataclasses import replace

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member
from tollkeeper.wire.dialect import AnswerReader
from tollkeeper.wire.inclusive import has_counts, inclusive_usage
from tollkeeper.wire.stated_cost import note_stated_cost

from .cohere import CohereReader, searches
from .flat import FlatDialect


class Rerank(FlatDialect):
    """The dialect ``rerank``."""

    name = "rerank"
    inputs = ("query", "documents", "texts", "queries")
    schemas = ()

    def read_ask(self, endpoint: Endpoint, body: Mapping[str, Json]) -> Ask:
        """See ``Dialect``."""
        ask = super().read_ask(endpoint, body)
        model = (ask.model or "").rpartition("/")[2].lower()
        if not model.startswith("rerank-"):  # Cohere's, wherever they are hosted, are billed by the search
            return ask
        return replace(ask, units={"search_units": searches(body.get("documents"), ask.input_bytes)})

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return RerankReader(endpoint, ask)


class RerankReader(CohereReader):
    """Reads one answer: Cohere's billed units, or a usage object."""

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        super().take(payload)
        notes = self.notes
        notes.identity(payload)
        usage = member(payload, "usage")
        if has_counts(usage) or has_count(usage, "search_units"):
            self.keep(usage)
            note_stated_cost(usage, notes)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if member(self.usage, "billed_units") or not self.usage:
            return super().calls()
        if member(self.usage, "tokens"):
            return super().calls()
        flags = self.notes.flags
        usage = inclusive_usage(self.usage, self.model, frozenset(), flags)
        found = count(self.usage.get("search_units"), flags)
        return (replace(usage, units={**usage.units, "search_units": found}) if found else usage,)
