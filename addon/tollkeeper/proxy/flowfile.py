"""mitmproxy's own flow files as exchanges, for ``tollkeeper meter``."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from mitmproxy.exceptions import FlowReadException
from mitmproxy.http import Headers, HTTPFlow
from mitmproxy.io import FlowReader
from mitmproxy.websocket import WebSocketData

from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.wire.archives import ArchiveError
from tollkeeper.wire.exchange import Exchange


def read_flow_file(path: Path) -> Iterator[Exchange | ArchiveError]:
    """Every HTTP exchange of a flow file, in its order; other flows are passed over. A damaged file ends in an error, not a raise."""
    number = 0
    try:
        with path.open("rb") as stream:
            for flow in FlowReader(stream).stream():
                number += 1
                if isinstance(flow, HTTPFlow):
                    yield _exchange(flow)
    except (FlowReadException, OSError, ValueError, TypeError, KeyError) as error:
        yield ArchiveError(f"{path.name}#{number + 1}", f"the flow file breaks here ({type(error).__name__})")


def _exchange(flow: HTTPFlow) -> Exchange:
    request, response = flow.request, flow.response
    return Exchange(
        id=flow.id,
        method="WEBSOCKET" if flow.websocket is not None else request.method,
        url=request.url,
        request_headers=_headers(request.headers),
        request_body=request.raw_content or b"",
        status=response.status_code if response is not None else 0,
        response_headers=_headers(response.headers) if response is not None else {},
        response_body=_frames(flow.websocket) if flow.websocket is not None else (response and response.raw_content) or b"",
        cut=flow.error is not None,
        started_at=int(request.timestamp_start * US_PER_SECOND),
    )


def _frames(socket: WebSocketData) -> bytes:
    """The frames of a WebSocket as ``wire.exchange.read_session`` takes them."""
    lines = (
        {"direction": "sent" if frame.from_client else "received", "data": base64.b64encode(frame.content).decode()}
        for frame in socket.messages
    )
    return "\n".join(map(json.dumps, lines)).encode()


def _headers(headers: Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
