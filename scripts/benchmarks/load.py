"""A load generator that costs little: preformatted requests over kept-alive connections, answers read to their end."""

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 20.0
"""A run in which nothing happens for this long fails instead of hanging."""


@dataclass(slots=True)
class Tally:
    """What the connections of one run saw together. Times in seconds."""

    answers: int = 0
    seconds: float = 0.0
    first_bytes: list[float] = field(default_factory=list)


class Client:
    """One TLS connection through a proxy's CONNECT (or straight to the provider, with ``proxy_port`` None)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int, host: str, context: ssl.SSLContext, *, proxied: bool = True) -> "Client":
        """Connect, tunnel, shake hands. ``port`` is the proxy's, or the provider's when not ``proxied``."""
        async with asyncio.timeout(PATIENCE_S):
            return await cls._open(port, host, context, proxied=proxied)

    @classmethod
    async def _open(cls, port: int, host: str, context: ssl.SSLContext, *, proxied: bool) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        if proxied:
            writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise RuntimeError(f"CONNECT {host} was answered: {head!r}")
        await writer.start_tls(context, server_hostname=host)
        return cls(reader, writer)

    async def exchange(self, request: bytes) -> float:
        """Send one request and read the whole answer; gives the seconds until the first byte of the body."""
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered: {head + await self._reader.read(2000)!r}")
        lowered = head.lower()
        if b"transfer-encoding: chunked" in lowered:
            tail = await self._reader.read(2**18)
            first = time.perf_counter() - began
            while not tail.endswith(b"0\r\n\r\n"):
                data = await self._reader.read(2**18)
                if not data:
                    raise RuntimeError("the answer was cut")
                tail = tail[-5:] + data
            return first
        size = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(size)
        return time.perf_counter() - began

    async def close(self) -> None:
        """Drop the connection."""
        self._writer.close()


async def open_clients(count: int, port: int, host: str, ca: Path, *, proxied: bool = True) -> list[Client]:
    """``count`` ready connections."""
    context = ssl.create_default_context(cafile=str(ca))
    return [await Client.open(port, host, context, proxied=proxied) for _ in range(count)]


async def drive(clients: list[Client], request: bytes, *, seconds: float = 0.0, total: int = 0, stagger_s: float = 0.0) -> Tally:
    """Keep every connection busy for ``seconds``, or until ``total`` answers; begins are spread over ``stagger_s``."""
    tally = Tally()
    began = time.perf_counter()

    def more() -> bool:
        return tally.answers < total if total else time.perf_counter() - began < seconds

    async def worker(number: int, client: Client) -> None:
        await asyncio.sleep(stagger_s * number / len(clients))
        while more():
            deadline.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)
            tally.first_bytes.append(await client.exchange(request))
            tally.answers += 1

    async with asyncio.timeout(PATIENCE_S) as deadline:
        await asyncio.gather(*(worker(number, client) for number, client in enumerate(clients)))
    tally.seconds = time.perf_counter() - began
    return tally


def http_request(host: str, path: str, body: bytes, **script: object) -> bytes:
    """A preformatted POST; ``script`` steers the fake provider."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "content-type: application/json", f"content-length: {len(body)}"]
    lines += ["authorization: Bearer sk-bench", "x-api-key: sk-bench", "accept: */*", "user-agent: bench/1"]
    lines += [f"x-fake-{name.replace('_', '-')}: {value}" for name, value in script.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
