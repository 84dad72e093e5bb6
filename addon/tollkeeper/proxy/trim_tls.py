"""A shortcut through mitmproxy's TLS layer: no 64 kB allocations and no exception per event, the same calls into OpenSSL.

pyOpenSSL allocates a fresh buffer for every read and raises ``WantReadError`` to say "nothing more"; a relayed event pays that four
times. Here one buffer of the (single-threaded) event loop is read into, and OpenSSL's own return code is looked at.
"""

from collections.abc import Iterator
from typing import Any

from mitmproxy import connection
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import tls
from OpenSSL import SSL

BUFFER_BYTES = 262_144

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)
_NEEDED = ("SSL_read", "SSL_get_error", "BIO_read", "SSL_ERROR_WANT_READ")


def _interact(self: tls.TLSLayer) -> Iterator[Any]:
    while True:
        size = _lib.BIO_read(self.tls._from_ssl, _buffer, BUFFER_BYTES)  # noqa: SLF001 — see the module
        if size > 0:
            yield commands.SendData(self.conn, _ffi.buffer(_buffer, size)[:])
        if size < BUFFER_BYTES:
            return


def _receive_data(self: tls.TLSLayer, data: bytes) -> Iterator[Any]:
    connected = self.tls
    if data:
        connected.bio_write(data)
    handle = connected._ssl  # noqa: SLF001
    plaintext = bytearray()
    close = False
    while True:
        size = _lib.SSL_read(handle, _buffer, BUFFER_BYTES)
        if size > 0:
            plaintext += _ffi.buffer(_buffer, size)
            continue
        if _lib.SSL_get_error(handle, size) != _lib.SSL_ERROR_WANT_READ:
            try:
                connected._raise_ssl_error(handle, size)  # noqa: SLF001
            except SSL.WantReadError:
                pass
            except SSL.ZeroReturnError:
                close = True
            except SSL.Error as error:
                yield commands.Log(f"TLS Error: {error}", 30)
        break
    yield from _interact(self)
    if plaintext:
        yield from self.event_to_child(events.DataReceived(self.conn, bytes(plaintext)))
    if close:
        self.conn.state &= ~connection.ConnectionState.CAN_READ
        yield from self.event_to_child(events.ConnectionClosed(self.conn))


_buffer: Any = None


def install() -> bool:
    """Put the shortcut in place; False when this pyOpenSSL has other insides, and everything stays as it was."""
    global _buffer  # noqa: PLW0603 — one buffer for the one event loop
    if _ffi is None or not all(hasattr(_lib, name) for name in _NEEDED) or not hasattr(SSL.Connection, "_raise_ssl_error"):
        return False
    if _buffer is None:
        _buffer = _ffi.new("char[]", BUFFER_BYTES)
    tls.TLSLayer.tls_interact = _interact  # type: ignore[method-assign, assignment]
    tls.TLSLayer.receive_data = _receive_data  # type: ignore[method-assign, assignment]
    return True
