"""Requests whose body is ``multipart/form-data`` (RFC 7578): the fields, and where each file stands; no file is copied.

The boundary is read from the body's first line (RFC 2046, 5.1.1), so that no header is needed. Uploads are tens of megabytes of sound
and pictures: they are stepped over by searching for the boundary, never held twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from email.utils import collapse_rfc2231_value

from tollkeeper.core.errors import WireError

MAX_PARTS = 256
"""The most parts looked at: image edits take 16 pictures at most."""

MAX_FIELD_BYTES = 256 * 1024
"""A longer field without a file name is cut: prompts end at 32,000 characters."""

MAX_HEADER_BYTES = 8 * 1024
_MAX_BOUNDARY_BYTES = 70
"""RFC 2046, 5.1.1."""

_PARSER = BytesHeaderParser()


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its field name, whether it is a file, and where its content stands in the body."""

    name: str
    is_file: bool
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of content."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Upload:
    """The content of a file field, as a view of the body: nothing of it is copied, shown or kept."""

    view: memoryview = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.view)


def is_multipart(body: bytes) -> bool:
    """Whether a body is multipart by its first line."""
    return _boundary(body) is not None


def parts(body: bytes) -> Iterator[Part]:
    """The parts of a body, in order; those that are damaged, unnamed or beyond ``MAX_PARTS`` are left out. Never raises."""
    boundary = _boundary(body)
    if boundary is None:
        return
    mark = b"\r\n" + boundary
    position = len(boundary)
    for _ in range(MAX_PARTS):
        if body[position : position + 2] != b"\r\n":  # "--" closes the body
            return
        end = body.find(mark, position)
        if end < 0:
            return
        blank = body.find(b"\r\n\r\n", position, min(end + 2, position + MAX_HEADER_BYTES))
        if blank >= 0:
            name, is_file = _name(body[position + 2 : blank + 2])
            if name:
                yield Part(name, is_file, min(blank + 4, end), end)
        position = end + len(mark)


def fields(body: bytes) -> dict[str, str | Upload | list[str | Upload]]:
    """The fields as a JSON object would hold them: text as strings, files as ``Upload``, repeated fields and ``name[]`` as lists."""
    found: dict[str, str | Upload | list[str | Upload]] = {}
    view = memoryview(body)
    for part in parts(body):
        value: str | Upload
        if part.is_file:
            value = Upload(view[part.start : part.end])
        else:
            value = body[part.start : min(part.end, part.start + MAX_FIELD_BYTES)].decode("utf-8", "replace")
        name, is_list = part.name.removesuffix("[]"), part.name.endswith("[]")
        before = found.get(name)
        if isinstance(before, list):
            before.append(value)
        elif before is not None:
            found[name] = [before, value]
        else:
            found[name] = [value] if is_list else value
    return found


def set_field(body: bytes, name: str, value: str) -> bytes:
    """The body with a text field set, or added in front; every other byte stays. Raises ``WireError`` when it is not multipart."""
    boundary = _boundary(body)
    if boundary is None or "\r" in value or "\n" in value:
        raise WireError(f"the multipart body or the value of {name!r} is damaged, so it cannot be rewritten")
    hits = [part for part in parts(body) if part.name == name and not part.is_file]
    if not hits:
        head = b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n'
        return boundary + head + value.encode() + b"\r\n" + body
    pieces, position = [], 0
    for part in hits:
        pieces += [body[position : part.start], value.encode()]
        position = part.end
    return b"".join((*pieces, body[position:]))


def _boundary(body: bytes) -> bytes | None:
    """The delimiter line without its line end, dashes included."""
    if body[:2] != b"--":
        return None
    end = body.find(b"\r\n", 2, _MAX_BOUNDARY_BYTES + 4)
    return body[:end] if end > 2 else None


def _name(head: bytes) -> tuple[str, bool]:
    """A part's field name and whether it carries a file name; no name when its header is damaged."""
    try:
        message = _PARSER.parsebytes(head)
        name = message.get_param("name", "", header="content-disposition")
        is_file = message.get_param("filename", header="content-disposition") is not None
        return collapse_rfc2231_value(name)[:200] if name else "", is_file
    except (
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        LookupError,
    ):  # email's parsers raise all of these on damaged headers
        return "", False
