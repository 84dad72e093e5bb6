"""What of a request counts as input: its text, and how many pictures, files and sounds come with it."""

import json
from collections.abc import Iterable, Iterator

from tollkeeper.core.value import dataclass

from .counts import Json

MAX_NODES = 2_000_000
"""JSON values looked at in one request: a 10 MB conversation of 10,000 messages has 60,000."""

_SILENT = frozenset(
    {
        "type", "role", "id", "call_id", "tool_call_id", "tool_use_id", "cache_control", "signature", "thoughtSignature",
        "thought_signature", "encrypted_content", "file_id", "file_url", "fileUri", "file_uri", "mimeType", "mime_type", "media_type",
        "status", "detail", "format",
    }
)  # fmt: skip
"""Keys whose values the model does not read, or that are not text."""

_MEDIA_TYPES = frozenset(
    {"image_url", "input_image", "image", "input_audio", "file", "input_file", "document", "video_url", "audio_url"}
)
_MEDIA_KEYS = ("inlineData", "inline_data", "fileData", "file_data")
_PAYLOAD_MARKS = ("media_type", "mimeType", "mime_type", "format")


@dataclass(slots=True)
class Material:
    """The weight of a request's input."""

    text_bytes: int = 0
    media_parts: int = 0
    cache_write_ttl: str | None = None


def weigh(values: Iterable[Json]) -> Material:
    """The UTF-8 bytes of all texts in ``values``, and the media parts and cache marks among them."""
    material = Material()
    total = 0
    for text in _texts(values, material):
        total += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    material.text_bytes = total
    return material


def texts(values: Iterable[Json]) -> Iterator[str]:
    """All texts in ``values``, in no promised order."""
    return _texts(values, Material())


def schema_text(value: Json) -> str:
    """A tool list or schema as the text the model is given, roughly: keys count there."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else ""


def _texts(values: Iterable[Json], material: Material) -> Iterator[str]:
    stack = list(values)
    for _ in range(MAX_NODES):
        if not stack:
            return
        value = stack.pop()
        if isinstance(value, str):
            if not (value.startswith("data:") and ";base64," in value[:200]):
                yield value
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            kind = value.get("type")
            if (kind.__class__ is str and kind in _MEDIA_TYPES) or any(key in value for key in _MEDIA_KEYS):
                material.media_parts += 1
            payload = "data" in value and any(mark in value for mark in _PAYLOAD_MARKS)
            if (mark := value.get("cache_control")) is not None:
                _note_cache(mark, material)
            for key, inner in value.items():
                if key not in _SILENT and not (payload and key == "data") and inner.__class__ in _CARRIERS:
                    stack.append(inner)


_CARRIERS = (str, list, dict)


def _note_cache(mark: Json, material: Material) -> None:
    if isinstance(mark, dict):
        material.cache_write_ttl = "1h" if mark.get("ttl") == "1h" or material.cache_write_ttl == "1h" else "5m"
