"""Behind a company's proxy: what leaves goes through it by CONNECT, except to the hosts that ``NO_PROXY`` names."""

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tollkeeper.core.errors import ConfigError

HEAD_LIMIT_BYTES = 16_384
HANDSHAKE_SECONDS = 30.0
DEFAULT_PORTS = {"http": 80, "https": 443}
NONE = "none"

type Address = tuple[str, int]
type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamProxy:
    """The next proxy. ``authorization`` is the value of ``Proxy-Authorization``, never shown; ``direct`` the entries of ``NO_PROXY``."""

    scheme: str
    address: Address
    authorization: str = field(default="", repr=False)
    direct: tuple[str, ...] = ()

    def is_direct(self, host: str, port: int) -> bool:
        """Whether ``NO_PROXY`` sends this host past the company's proxy."""
        return any(_matches(entry, host.lower().strip("[]").rstrip("."), port) for entry in self.direct)

    def __str__(self) -> str:
        host, port = self.address
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def parse_upstream(url: str, no_proxy: str = "") -> UpstreamProxy:
    """An upstream proxy from its URL (``http://user:password@proxy.corp:3128``). Raises ``ConfigError``, without showing the password."""
    text = url if "://" in url else f"http://{url}"
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError:
        raise ConfigError(
            "the upstream proxy's URL cannot be read; write it like http://user:password@proxy.example.com:3128"
        ) from None
    if found.scheme not in DEFAULT_PORTS or not found.hostname or found.path not in {"", "/"}:
        shown = f"{found.scheme[:16]}://{(found.hostname or '')[:253]}"
        raise ConfigError(f"upstream proxy {shown}: only http:// and https:// proxies with a host and no path can be chained")
    authorization = ""
    if found.username is not None:
        pair = f"{unquote(found.username)}:{unquote(found.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    direct = tuple(entry for part in no_proxy.split(",") if (entry := part.strip().lower()))
    address = (found.hostname, port or DEFAULT_PORTS[found.scheme])
    return UpstreamProxy(scheme=found.scheme, address=address, authorization=authorization, direct=direct)


def upstream_of(environment: Mapping[str, str], chosen: str | None) -> tuple[str, str]:
    """(URL, NO_PROXY) of the proxy to chain behind: ``chosen`` (``none`` for no proxy), else the environment's ``HTTPS_PROXY``, else empty.

    ``environment`` must be that of the shell before our own exports (``gate.environment.environment_before``).
    """
    direct = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if chosen is not None:
        return ("" if chosen == NONE else chosen, direct)
    return (environment.get("https_proxy") or environment.get("HTTPS_PROXY") or "", direct)


async def open_through(proxy: UpstreamProxy, host: str, port: int, trust: str) -> Streams:
    """A byte stream to ``host``:``port`` by way of the proxy. Raises ``OSError`` saying what the proxy answered.

    ``trust``: the file of roots for an ``https://`` proxy.
    """
    context = ssl.create_default_context(cafile=trust or None) if proxy.scheme == "https" else None
    named = proxy.address[0] if context is not None else None
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(*proxy.address, ssl=context, server_hostname=named), HANDSHAKE_SECONDS
    )
    authority = f"[{host}]:{port}" if ":" in host else f"{host.encode('idna').decode()}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))
        status = await asyncio.wait_for(_status(reader), HANDSHAKE_SECONDS)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError) as error:
        writer.close()
        raise OSError(f"upstream proxy {proxy}: no answer to CONNECT ({type(error).__name__})") from error
    if not 200 <= status < 300:
        writer.close()
        hint = "; it wants a user name and password in its URL (--upstream-proxy)" if status == 407 else ""
        raise OSError(f"upstream proxy {proxy} answered {status} to CONNECT {authority}{hint}")
    return reader, writer


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the final answer head; an informational one before it is passed over."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if len(head) > HEAD_LIMIT_BYTES:
            raise ValueError("answer head too long")
        words = head.split(b"\r\n", 1)[0].split(b" ")
        status = int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/1.") else 0
        if not 100 <= status < 200:
            return status


def _matches(entry: str, host: str, port: int) -> bool:
    """One entry of ``NO_PROXY``, by the rules curl, Go and Python share: a name covers itself and all below it; networks as CIDR."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, wanted = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
    if colon and wanted != str(port):
        return False
    name = (name if colon else entry).strip("[]").removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
