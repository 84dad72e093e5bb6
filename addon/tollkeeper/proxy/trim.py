"""Shortcuts through mitmproxy's inner loop that change what it costs, not what it does.

Found by profiling small JSON calls (docs/benchmarks.md): a header look-up converts every name and joins lists, each stream makes
a connection object only to throw it away, every flow and connection draws a UUID from the kernel, and every option is deep-copied
when read.
"""

import itertools
from types import SimpleNamespace
from typing import Any

from mitmproxy import connection, flow
from mitmproxy.http import Headers
from mitmproxy.options import Options
from mitmproxy.proxy.context import Context

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
    # An id only tells flows and connections of one process apart.
    numbers = SimpleNamespace(uuid4=itertools.count(1).__next__)
    trim_tls.install()
    flow.uuid = numbers  # type: ignore[assignment, attr-defined]
    connection.uuid = numbers  # type: ignore[assignment, attr-defined]
