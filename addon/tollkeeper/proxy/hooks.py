"""mitmproxy's HTTP events, turned into the road's calls. Thin: every decision is made elsewhere."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mitmproxy import ctx, http

from tollkeeper.core.call import Endpoint, Metering
from tollkeeper.core.entry import Outcome
from tollkeeper.core.errors import LedgerError, WireError
from tollkeeper.policy.message import response_headers
from tollkeeper.wire.framing.decoders import decoder_for
from tollkeeper.wire.refuse import Reply, refusal
from tollkeeper.wire.routes import endpoint_for

from .door import Door
from .headers import ascii_target, client_of, fault, is_bound, strip
from .intercept import misdirected
from .passage import Passage
from .road import Road, decoded
from .safety import guarded, guarded_async, note_fault
from .stages import Stages

PASSAGE, ENDPOINT = "tollkeeper_passage", "tollkeeper_endpoint"
RENEW_SECONDS = 240.0
"""A third of the 15 minutes after which the ledger lets an unsettled hold go, and some."""
STREAMED_UPLOAD = frozenset({Metering.FREE, Metering.UNMETERED})


class Hooks:
    """An addon: one ``Passage`` per flow, admitted in ``request``, metered by a tap, settled once."""

    name = "tollkeeper"

    def __init__(self, stages: Stages, door: Door, *, drain_seconds: float, status: Callable[[], dict[str, Any]]) -> None:
        self.stages = stages
        self.door = door
        self.road = Road(stages)
        self.drain_seconds = drain_seconds
        self.status = status
        self.inflight: dict[str, http.HTTPFlow] = {}
        self.started_at = stages.clock()
        self._renewal: asyncio.Task[None] | None = None

    def on_fault(self, hook: str, error: BaseException, flow: Any) -> None:
        """Open: the call goes on, counted and loud. Closed: it is refused while that is still possible, else cut."""
        note_fault(self.stages.counters, hook, error)
        if not isinstance(flow, http.HTTPFlow):
            return
        endpoint: Endpoint | None = flow.metadata.get(ENDPOINT)
        if self.stages.policy.on_fault != "closed":
            if hook == "request" and endpoint is not None and PASSAGE not in flow.metadata:
                # It leaves unread, so it must at least stand in every report.
                flow.metadata[PASSAGE] = self.road.unread(endpoint, self.stages.principal, self.stages.attribution)
                self.inflight[flow.id] = flow
        elif hook in {"requestheaders", "request"}:
            message = "Tollkeeper failed while checking this call and its policy is closed; see `tollkeeper status`."
            flow.response = _response(_refusal_for(endpoint, message))
        elif flow.killable:
            flow.kill()

    def running(self) -> None:
        """Keep the holds of long streams alive, as long as the process serves."""
        self._renewal = asyncio.get_running_loop().create_task(self._renew_holds())

    async def _renew_holds(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for flow in list(self.inflight.values()):
                passage: Passage | None = flow.metadata.get(PASSAGE)
                if passage is not None and passage.held and not passage.settled:
                    with contextlib.suppress(LedgerError):  # the next settle will say so
                        await self.stages.ledger.renew(passage.call.id)

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Strip what no provider may see, refuse what is malformed, find out what is called."""
        request = flow.request
        if not self.door.authenticate(flow):
            return
        if self._is_ours(flow):
            flow.response = http.Response.make(200, json.dumps(self.status()), {"content-type": "application/json"})
            return
        request.headers.fields = strip(request.headers.fields)
        provider = self.stages.hosts.provider_of(request.host)
        if provider is None:
            # Plain HTTP to anyone else: relayed as it comes, never buffered, never read.
            request.stream = True
            return
        if reason := fault(request.headers.fields):
            flow.response = _error(400, reason)
            return
        if reason := misdirected(flow.client_conn.sni, request.host, request.headers.get_all("host")):
            flow.response = _error(421, reason)
            return
        upgrade = "websocket" in (token.strip() for token in request.headers.get("upgrade", "").lower().split(","))
        method = "WEBSOCKET" if upgrade else request.method
        endpoint = endpoint_for(provider, request.host.lower(), method, ascii_target(request.path))
        flow.metadata[ENDPOINT] = endpoint
        # Identity saves decoding and lets a chunk be read as soon as it comes; a server may still compress.
        request.headers["accept-encoding"] = "identity"
        if upgrade and self.stages.policy.mode == "enforce":
            # No budget can stop a WebSocket that is not read; 426 makes Codex fall back to HTTP at once.
            flow.response = _error(426, "WebSockets cannot be metered yet; use HTTP")
            return
        request.stream = endpoint.metering in STREAMED_UPLOAD and not upgrade

    def _is_ours(self, flow: http.HTTPFlow) -> bool:
        """A plain request to the proxy's own address, which is its status page and nothing else."""
        request, sockname = flow.request, flow.client_conn.sockname
        names = {sockname[0], "localhost", "127.0.0.1", "::1"}
        return request.scheme == "http" and request.port == sockname[1] and request.host in names

    @guarded_async
    async def request(self, flow: http.HTTPFlow) -> None:
        """The body is complete: decide, hold, and change what must be changed."""
        endpoint: Endpoint | None = flow.metadata.get(ENDPOINT)
        if flow.response is not None or flow.error is not None or endpoint is None:
            return
        raw = b"" if flow.request.stream else (flow.request.raw_content or b"")
        encoding = flow.request.headers.get("content-encoding", "")
        try:
            body = decoded(raw, encoding)
        except WireError as error:
            flow.response = _response(_refusal_for(endpoint, f"Tollkeeper cannot read this request: {error}"))
            return
        path = ascii_target(flow.request.path)
        try:
            bound = is_bound(endpoint.host, flow.request.headers.fields)
            attribution = replace(
                self.door.admitted.get(flow.client_conn.id, self.stages.attribution),
                client=client_of(flow.request.headers.get("user-agent", "")),
            )
            passage = await self.road.admit(endpoint, path, body, self.stages.principal, attribution, bound=bound)
        except LedgerError as error:
            flow.response = _response(_refusal_for(endpoint, f"Tollkeeper cannot record this call, so it is refused: {error}"))
            return
        flow.metadata[PASSAGE] = passage
        if passage.refusal is not None:
            flow.response = _response(passage.refusal)
            flow.response.headers.update(response_headers(passage.decision))
            return
        self.inflight[flow.id] = flow
        if passage.outgoing is not None:
            if encoding:
                del flow.request.headers["content-encoding"]
            flow.request.raw_content = passage.outgoing
            if "transfer-encoding" not in flow.request.headers:
                flow.request.headers["content-length"] = str(len(passage.outgoing))
        if passage.path and passage.path != path:
            flow.request.path = passage.path

    @guarded
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Always stream: to other hosts as it comes, from a provider through the meter."""
        response = flow.response
        assert response is not None  # noqa: S101 — mitmproxy calls this hook with one
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is None or passage.refusal is not None:
            if flow.metadata.get(ENDPOINT) is None and flow.server_conn.connected:
                response.stream = True
            return
        response.headers.pop("alt-svc", None)  # an HTTP/3 client would leave the proxy
        if response.status_code == 101:
            passage.status = 101
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.fields}
        self.road.listen(passage, response.status_code, headers)
        if passage.strainer is not None:
            self._prepare_straining(response, passage, headers)
        if passage.decision.rule or passage.decision.would is not passage.decision.verdict:
            response.headers.update(response_headers(passage.decision))
        response.stream = passage.tap(self.stages.clock)

    @staticmethod
    def _prepare_straining(response: http.Response, passage: Passage, headers: dict[str, str]) -> None:
        """The answer will lose a chunk: its length is unknown, and a server's compression (against our wish) is taken off."""
        if encoding := headers.get("content-encoding"):
            try:
                passage.unpacker = decoder_for(encoding)
            except WireError:
                passage.strainer = None  # unreadable to us: the extra chunk stays
                return
            del response.headers["content-encoding"]
        if "content-length" in headers:
            del response.headers["content-length"]
            response.headers["transfer-encoding"] = "chunked"

    @guarded_async
    async def response(self, flow: http.HTTPFlow) -> None:
        """The answer is complete; mitmproxy sends its end only after this: recorded before the client sees it end."""
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is None or flow.websocket is not None:
            return
        self.inflight.pop(flow.id, None)
        await self.road.settle(passage, Outcome.OK, cut=False)

    @guarded_async
    async def error(self, flow: http.HTTPFlow) -> None:
        """The call broke off: by the client, the provider, or us."""
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is None:
            return
        self.inflight.pop(flow.id, None)
        outcome = Outcome.CUT if flow.client_conn.connected else Outcome.ABORTED
        sent = flow.server_conn.timestamp_start is not None and flow.server_conn.error is None
        client_left = outcome is Outcome.ABORTED
        # A provider that closes before answering has not generated; a client that leaves may be billed for what it sent.
        await self.road.settle(passage, outcome, cut=True, sent=sent and (client_left or flow.response is not None))

    @guarded
    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """mitmproxy keeps every message for the life of a socket (#6620)."""
        if flow.websocket is not None:
            flow.websocket.messages.clear()

    @guarded_async
    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """A socket that was not read: recorded as unmetered."""
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is None:
            return
        self.inflight.pop(flow.id, None)
        passage.notes = (*passage.notes, "websocket")
        await self.road.settle(passage, Outcome.OK, cut=False)

    async def done(self) -> None:
        """Drain: no new connections, streams end or are settled as partial, then the ledger is closed."""
        if (server := ctx.master.addons.get("proxyserver")) is not None:
            await server.servers.update([])
        if self._renewal is not None:
            self._renewal.cancel()
        deadline = time.monotonic() + self.drain_seconds
        while self.inflight and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for flow in list(self.inflight.values()):
            await self.error(flow)
        await self.stages.ledger.close()


def _refusal_for(endpoint: Endpoint | None, message: str) -> Reply:
    if endpoint is None:
        return Reply(status=400, headers={"content-type": "text/plain"}, body=message.encode())
    return refusal(endpoint, None, message)


def _response(reply: Reply) -> http.Response:
    return http.Response.make(reply.status, reply.body, dict(reply.headers))


def _error(status: int, reason: str) -> http.Response:
    error = {"type": "invalid_request_error", "message": f"Tollkeeper refused this request: {reason}", "code": None}
    body = json.dumps({"type": "error", "error": error})
    return http.Response.make(status, body, {"content-type": "application/json", "x-should-retry": "false"})
