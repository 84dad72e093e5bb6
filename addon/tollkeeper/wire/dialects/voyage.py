"""Voyage's embeddings of pictures and of whole documents.

Reference: docs.voyageai.com/reference/multimodal-embeddings-api: text is billed by the token, pictures by the pixel; ``total_tokens`` holds
560 pixels as one token more and is not the bill.
"""

from collections.abc import Mapping

from tollkeeper.core.call import Ask, Endpoint
from tollkeeper.core.usage import Usage
from tollkeeper.wire.counts import Json, count, has_count, member, model_name
from tollkeeper.wire.dialect import AnswerReader

from .flat import FlatDialect, FlatReader


class Voyage(FlatDialect):
    """The dialect ``voyage``."""

    name = "voyage"
    inputs = ("inputs", "input")
    schemas = ()

    def reader(self, endpoint: Endpoint, ask: Ask, headers: Mapping[str, str]) -> AnswerReader:
        """See ``Dialect``."""
        return VoyageReader(endpoint, ask)


class VoyageReader(FlatReader):
    """Reads one answer."""

    def take(self, payload: Mapping[str, Json]) -> None:
        """See ``FlatReader``."""
        self.notes.model = model_name(payload.get("model")) or self.notes.model
        usage = member(payload, "usage")
        if any(has_count(usage, key) for key in ("text_tokens", "image_pixels", "total_tokens")):
            self.keep(usage)

    def calls(self) -> tuple[Usage, ...]:
        """See ``AnswerReader``."""
        if not self.usage:
            return ()
        flags = self.notes.flags
        pixels = count(self.usage.get("image_pixels"), flags) + count(self.usage.get("video_pixels"), flags)
        apart = has_count(self.usage, "text_tokens") or pixels
        text = count(self.usage.get("text_tokens" if apart else "total_tokens"), flags)
        return (Usage(model=self.model, input_tokens=text, units={"input_pixels": pixels} if pixels else {}),)
