"""Protocol Buffers' wire format, read by field number and bounded: only the fields that a ``Message`` names are looked at.

Reference: protobuf.dev/programming-guides/encoding. The last value of a field wins and embedded messages that come twice are merged, as
the encoding asks; what is damaged raises ``WireError``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tollkeeper.core.errors import WireError

from .counts import Json

MAX_FIELDS = 2_000_000
"""Fields looked at in one message, the embedded ones included."""

MAX_DEPTH = 32
_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_MAX_VARINT_BYTES: Final = 10
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Text:
    """A string field; what is not UTF-8 is replaced."""

    name: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer, bool or enum field. ``words`` names the values of an enum; one that is not there stays a number."""

    name: str
    repeated: bool = False
    words: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """A field of which only the length in bytes is kept: payloads."""

    name: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """An embedded message, or the message itself: what its field numbers mean."""

    name: str
    fields: "Mapping[int, Text | Whole | Size | Message]"
    repeated: bool = False


type Field = Text | Whole | Size | Message


def read(data: bytes, message: Message) -> dict[str, Json]:
    """A message as a JSON object under the names that ``message`` gives. Raises ``WireError`` when it is damaged or too large."""
    return _Reader().read(memoryview(data), message, {}, 0)


def tagged(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Each field of one level: (number, where its tag starts, where its value starts, where it ends). Raises ``WireError``."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        number, kind, value_at = _tag(view, at)
        _, start, end = _value(view, value_at, kind, number)
        yield number, at, start, end
        at = end


def put(data: bytes, number: int, value: str | int) -> bytes:
    """The message with one field of its top level set: the old values go, every other byte stays. Raises ``WireError``."""
    kept: list[bytes] = []
    for found, at, _, end in tagged(data):
        if found != number:
            kept.append(data[at:end])
    if isinstance(value, str):
        raw = value.encode()
        kept.append(_encode(number << 3 | _BYTES) + _encode(len(raw)) + raw)
    else:
        kept.append(_encode(number << 3 | _VARINT) + _encode(value))
    return b"".join(kept)


class _Reader:
    """Reads one message and all inside it, within one budget of fields."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def read(self, view: memoryview, message: Message, into: dict[str, Json], depth: int) -> dict[str, Json]:
        if depth > MAX_DEPTH:
            raise WireError(f"a protobuf message is nested more than {MAX_DEPTH} deep")
        at, size, fields = 0, len(view), message.fields
        while at < size:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"a protobuf message has more than {MAX_FIELDS} fields")
            number, kind, at = _tag(view, at)
            value, start, at = _value(view, at, kind, number)
            field = fields.get(number)
            if field is not None:
                self._take(field, kind, value, view[start:at], into, depth)
        return into

    def _take(self, field: Field, kind: int, value: int, raw: memoryview, into: dict[str, Json], depth: int) -> None:
        name = field.name
        if isinstance(field, Whole):
            if kind == _VARINT:
                _add(field, _word(field, value), into)
            elif kind == _BYTES and field.repeated:
                self._packed(field, raw, into)
        elif kind != _BYTES:
            return  # of another type than the schema says: skipped, as decoders do
        elif isinstance(field, Text):
            _add(field, str(raw, "utf-8", "replace"), into)
        elif isinstance(field, Size):
            _add(field, len(raw), into)
        elif field.repeated:
            into.setdefault(name, []).append(self.read(raw, field, {}, depth + 1))
        else:
            self.read(raw, field, into.setdefault(name, {}), depth + 1)

    def _packed(self, field: Whole, raw: memoryview, into: dict[str, Json]) -> None:
        at = 0
        while at < len(raw):
            self._left -= 1
            if self._left < 0:
                raise WireError(f"a protobuf message has more than {MAX_FIELDS} fields")
            value, at = _varint(raw, at)
            _add(field, _word(field, value), into)


def _add(field: Text | Whole | Size, value: Json, into: dict[str, Json]) -> None:
    if field.repeated:
        into.setdefault(field.name, []).append(value)
    else:
        into[field.name] = value


def _word(field: Whole, value: int) -> Json:
    signed = value - (_SIGN << 1) if value >= _SIGN else value  # int32 and int64 write negatives as 64-bit two's complement
    return field.words.get(signed, signed) if field.words is not None else signed


def _tag(view: memoryview, at: int) -> tuple[int, int, int]:
    """(field number, wire type, where the value starts)."""
    tag, value_at = _varint(view, at)
    number, kind = tag >> 3, tag & 7
    if not 0 < number < 1 << 29 or kind > _FIXED32:
        raise WireError(f"byte {at} of a protobuf message is no field (number {number}, wire type {kind})")
    return number, kind, value_at


def _value(view: memoryview, at: int, kind: int, number: int) -> tuple[int, int, int]:
    """(the value of a varint, else 0; where the value starts; where it ends)."""
    start = at
    value = 0
    if kind == _VARINT:
        value, at = _varint(view, at)
    elif kind == _BYTES:
        length, start = _varint(view, at)
        at = start + length
    elif kind == _FIXED64:
        at += 8
    elif kind == _FIXED32:
        at += 4
    elif kind == _GROUP:
        at = _group_end(view, at, number)
    else:
        raise WireError(f"byte {at} of a protobuf message ends a group that was not begun")
    if at > len(view):
        raise WireError(f"a protobuf message of {len(view)} bytes ends inside field {number}")
    return value, start, at


def _group_end(view: memoryview, at: int, number: int) -> int:
    """Where a group (an encoding of old) ends; its fields are skipped."""
    stack = [number]
    while stack:
        if at >= len(view) or len(stack) > MAX_DEPTH:
            raise WireError(f"a protobuf group of {len(view)} bytes has no end")
        found, kind, at = _tag(view, at)
        if kind == _GROUP:
            stack.append(found)
        elif kind == _GROUP_END:
            if stack.pop() != found:
                raise WireError(f"byte {at} of a protobuf message ends a group that was not begun")
        else:
            _, _, at = _value(view, at, kind, found)
    return at


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """(the value, where it ends)."""
    value = shift = 0
    for index in range(at, min(at + _MAX_VARINT_BYTES, len(view))):
        byte = view[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((_SIGN << 1) - 1), index + 1
        shift += 7
    raise WireError(f"byte {at} of a protobuf message of {len(view)} bytes begins a number that does not end")


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
