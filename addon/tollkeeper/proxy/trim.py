"""Shortcuts through mitmproxy's inner loop that change what it costs, not what it does.

Found by profiling small JSON calls (docs/benchmarks.md): a header look-up converts every name and joins lists, each stream makes
a connection object only to throw it away, every flow and connection draws a UUID from the kernel, every option is deep-copied
when read, and each piece of an answer looks its headers up and compares connections by their ids.
"""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from mitmproxy import connection, flow
from mitmproxy.http import Headers
from mitmproxy.options import Options
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._events import ResponseData, ResponseHeaders
from mitmproxy.proxy.layers.http._http1 import Http1Server

from . import trim_tls


def _name(name: str | bytes) -> bytes:
    return (name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name).lower()


def _get_all(self: Headers, name: str | bytes) -> list[str]:
    wanted = _name(name)
    return [value.decode("utf-8", "surrogateescape") for key, value in self.fields if key.lower() == wanted]


def _getitem(self: Headers, name: str | bytes) -> str:
    values = _get_all(self, name)
    if not values:
        raise KeyError(name)
    return ", ".join(values)


def _get(self: Headers, name: str | bytes, default: Any = None) -> Any:
    values = _get_all(self, name)
    return ", ".join(values) if values else default


def _contains(self: Headers, name: object) -> bool:
    if not isinstance(name, str | bytes):
        return False
    wanted = _name(name)
    return any(key.lower() == wanted for key, _ in self.fields)


def _send(self: Any, event: Any) -> Iterator[Any]:
    """Whether the answer is chunked is looked up once, not for every piece of it."""
    if event.__class__ is not ResponseData:
        if event.__class__ is ResponseHeaders:  # no reference to the answer: an idle connection would keep it, and its meter
            setattr(self, _CHUNKED, "chunked" in event.response.headers.get("transfer-encoding", "").lower())
        yield from _send_any(self, event)
        return
    data = event.data
    raw = b"%x\r\n%s\r\n" % (len(data), data) if getattr(self, _CHUNKED, False) else data
    if raw:
        yield commands.SendData(self.conn, raw)


_CHUNKED = "tollkeeper_chunked"
_send_any = Http1Server.send


def _fork(self: Context) -> Context:
    forked = Context.__new__(Context)
    forked.client, forked.options, forked.server = self.client, self.options, self.server
    forked.layers = self.layers.copy()
    return forked


def options_snapshot(options: Options) -> SimpleNamespace:
    """Today's value of every option, for layers to read: plain attributes, no copies."""
    return SimpleNamespace(**{name: getattr(options, name) for name in options.keys()})  # noqa: SIM118 — no mapping


def install() -> None:
    """Put the shortcuts in place, for this process. Idempotent."""
    for name, function in (("get_all", _get_all), ("__getitem__", _getitem), ("get", _get), ("__contains__", _contains)):
        setattr(Headers, name, function)
    Context.fork = _fork  # type: ignore[method-assign]
    Http1Server.send = _send  # type: ignore[method-assign, assignment]
    # A connection equals itself alone, which needs no Python code to see: it is compared and hashed a dozen times for each piece.
    for name in ("__eq__", "__hash__"):
        setattr(connection.Connection, name, getattr(object, name))
    # An id only tells flows and connections of one process apart.
    numbers = SimpleNamespace(uuid4=itertools.count(1).__next__)
    trim_tls.install()
    flow.uuid = numbers  # type: ignore[assignment, attr-defined]
    connection.uuid = numbers  # type: ignore[assignment, attr-defined]
