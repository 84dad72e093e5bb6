"""Which headers must never reach a provider, and which values must never reach anyone."""

from collections.abc import Iterable

from tollkeeper.identity.channels import STRIPPED_COOKIES
from tollkeeper.identity.config import OWN_HEADER
from tollkeeper.identity.scan import BRACE, COOKIE, GOES, Scan, holds_service_token

ACCESS_COOKIES = tuple(f"{name}=".encode() for name in STRIPPED_COOKIES)
PLAIN_SCAN = Scan(OWN_HEADER)

TAGS = b"cf-aig-metadata"
"""Labels that a client puts on its call for Cloudflare's AI Gateway, often with a name: nobody else's to read."""
CLOUDFLARE = frozenset({"cloudflare-gateway", "workers-ai"})

MAX_HEADER_BYTES = 65_536

type Fields = tuple[tuple[bytes, bytes], ...]


def strip(fields: Fields, scan: Scan = PLAIN_SCAN) -> Fields:
    """The header fields a provider may see: identity, proxy and our own headers are gone, Access cookies cut out.

    ``scan`` knows the one header that ``identity.toml`` may name besides.
    """
    kept = []
    spellings = scan.spellings
    for name, value in fields:
        kind = spellings.get(name)
        if kind is None:
            kind = scan.kind(name)
        if kind & GOES or (BRACE in value and holds_service_token(value)):
            continue
        if kind & COOKIE and any(cookie in value.lower() for cookie in ACCESS_COOKIES):
            remaining = _without_access_cookies(value)
            if remaining:
                kept.append((name, remaining))
            continue
        kept.append((name, value))
    return tuple(kept)


def without_tags(fields: Fields, provider: str | None) -> tuple[Fields, Fields]:
    """What leaves for ``provider``, and the labels that are read and stay here: those for Cloudflare leave for Cloudflare alone."""
    if provider in CLOUDFLARE:
        return fields, ()
    tags = tuple(field for field in fields if field[0].lower() == TAGS)
    return tuple(field for field in fields if field not in tags), tags


def _without_access_cookies(value: bytes) -> bytes:
    parts = (part.strip() for part in value.split(b";"))
    return b"; ".join(part for part in parts if not part.lower().startswith(ACCESS_COOKIES))


def fault(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Why these headers are refused, or None.

    mitmproxy passes CR and NUL inside a value upstream verbatim and has no bound on the size of a header block, both measured on
    12.2.3; either lets one request be read as two.
    """
    total = 0
    for name, value in fields:
        total += len(name) + len(value)
        if b"\r" in value or b"\n" in value or b"\0" in value:
            return f"header {name[:64].decode('ascii', 'replace')!r} holds a control character"
    if total > MAX_HEADER_BYTES:
        return f"headers of {total} bytes, more than the {MAX_HEADER_BYTES} allowed"
    return None


def ascii_target(target: str) -> str:
    """A request target with percent signs for its raw bytes (mitmproxy's surrogates): some clients send them, no URL may hold them.

    RFC 3986 2.1: what comes out names the same resource.
    """
    if target.isascii():
        return target
    raw = target.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)


PLAN_TOKEN = b"bearer sk-ant-oat"
SIGNATURE = b"aws4-"
PLAN_HOSTS = frozenset({"chatgpt.com"})


def is_bound(host: str, fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the body may not be changed: signed by AWS SigV4, or sent under a subscription, whose contract covers the client's own bytes.

    Claude plans are told by their OAuth token, ChatGPT plans by their host.
    """
    if host in PLAN_HOSTS:
        return True
    for name, value in fields:
        if name.lower() == b"authorization":
            return value[:32].lower().startswith((PLAN_TOKEN, SIGNATURE))
    return False
