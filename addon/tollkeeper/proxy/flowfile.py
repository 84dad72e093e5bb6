"""mitmproxy's own flow files as exchanges, for ``tollkeeper meter``."""

import base64
import json
import zlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import BinaryIO

from mitmproxy.exceptions import FlowReadException
from mitmproxy.http import Headers, HTTPFlow
from mitmproxy.io import FlowReader
from mitmproxy.websocket import WebSocketData

from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.wire.archives import ArchiveError
from tollkeeper.wire.exchange import Exchange


def read_flows(stream: BinaryIO, name: str) -> Iterator[Exchange | ArchiveError]:
    """Every HTTP exchange of a flow file, in its order; other flows are passed over. A damaged file ends in an error, not a raise.

    ``stream`` can be peeked into; ``name`` is what messages call it.
    """
    number = 0
    try:
        for flow in FlowReader(stream).stream():
            number += 1
            if isinstance(flow, HTTPFlow):
                yield _exchange(flow)
    except (FlowReadException, OSError, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
        yield ArchiveError(f"{name}#{number + 1}", f"the flow file breaks here ({type(error).__name__})")


def _exchange(flow: HTTPFlow) -> Exchange:
    request, response = flow.request, flow.response
    body = response.raw_content if response is not None else b""
    if flow.websocket is not None:
        body = _frames(flow.websocket)
    elif response is not None and response.status_code == 101:
        body = None  # what came after the upgrade is in no HTTP flow
    return Exchange(
        id=flow.id,
        method="WEBSOCKET" if flow.websocket is not None else request.method,
        url=_url(flow),
        request_headers=_headers(request.headers),
        request_body=request.raw_content or b"",
        status=response.status_code if response is not None else 0,
        response_headers=_headers(response.headers) if response is not None else {},
        response_body=body or b"",
        cut=flow.error is not None or body is None,  # mitmproxy keeps no body of what it streamed past
        started_at=int(request.timestamp_start * US_PER_SECOND),
    )


def _url(flow: HTTPFlow) -> str:
    """The URL by the name that the client called: a flow recorded transparently went to an address, its name is in ``Host`` or the SNI.

    A name that was connected to is never replaced: ``Host`` is only what the client says.
    """
    request = flow.request
    if _is_name(request.host):
        return request.url
    if _is_name(request.pretty_host):
        return request.pretty_url
    sni = flow.client_conn.sni or ""
    return f"{request.scheme}://{sni}:{request.port}{request.path}" if _is_name(sni) else request.url


def _is_name(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return bool(host)
    return False


def _frames(socket: WebSocketData) -> bytes:
    """The frames of a WebSocket as ``wire.exchange.read_session`` takes them."""
    lines = (
        {"direction": "sent" if frame.from_client else "received", "data": base64.b64encode(frame.content).decode()}
        for frame in socket.messages
    )
    return "\n".join(map(json.dumps, lines)).encode()


def _headers(headers: Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
