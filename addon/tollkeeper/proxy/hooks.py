"""mitmproxy's HTTP events, turned into the road's calls. Thin: every decision is made elsewhere."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.proxy.mode_specs import TransparentMode

from tollkeeper.core.call import Endpoint, Metering
from tollkeeper.core.decision import Verdict
from tollkeeper.core.entry import Outcome
from tollkeeper.core.errors import LedgerError, WireError
from tollkeeper.identity.channels import Resolution
from tollkeeper.identity.scan import Scan
from tollkeeper.identity.scan import decoded as as_texts
from tollkeeper.ledger.writer import OnDisk
from tollkeeper.policy.message import MAX_HEADER_CHARS, response_headers
from tollkeeper.policy.model import Websockets
from tollkeeper.policy.telling import as_told
from tollkeeper.wire.clients import client_of
from tollkeeper.wire.dialects import SESSIONS
from tollkeeper.wire.framing.decoders import decoder_for
from tollkeeper.wire.request import is_too_large
from tollkeeper.wire.routes import endpoint_for, model_in_query, named_by_header

from . import tries
from .addressing import address
from .budget_page import budget_answer, is_budget_page
from .door import Door, Shown
from .h2 import RESET_BY_CLIENT
from .headers import ascii_target, fault, is_bound, strip, without_tags
from .intercept import misdirected
from .passage import Passage
from .replies import as_response, error_response, refusal_for
from .road import Road, decoded
from .safety import guarded, guarded_async, note_fault
from .socket_layer import OUTBOX
from .sockets import CUT_OFF, Socket, open_socket
from .stages import Stages

PASSAGE, ENDPOINT, SOCKET = "tollkeeper_passage", "tollkeeper_endpoint", "tollkeeper_socket"
UPGRADE, OURS, WHO, TAGS = "tollkeeper_upgrade", "tollkeeper_ours", "tollkeeper_who", "tollkeeper_tags"
RENEW_SECONDS = 240.0
"""A third of the 15 minutes after which the ledger lets an unsettled hold go, and some."""


class Hooks:
    """An addon: one ``Passage`` per flow, admitted in ``request``, metered by a tap, settled once."""

    name = "tollkeeper"

    def __init__(self, stages: Stages, door: Door, *, drain_seconds: float, status: Callable[[], dict[str, Any]]) -> None:
        self.stages = stages
        self.door = door
        self.road = Road(stages)
        self.scan = Scan(stages.desk.config.header)
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
        if hook == "requestheaders":  # whatever broke, it may have been before this
            flow.request.headers.fields = strip(flow.request.headers.fields, self.scan)
        endpoint: Endpoint | None = flow.metadata.get(ENDPOINT)
        if self.stages.policy.on_fault != "closed":
            if hook == "request" and endpoint is not None and PASSAGE not in flow.metadata:
                # It leaves unread, so it must at least stand in every report.
                who: Resolution | None = flow.metadata.get(WHO)
                principal = self.stages.principal if who is None else who.principal
                flow.metadata[PASSAGE] = self.road.unread(endpoint, principal, self.stages.attribution)
                self.inflight[flow.id] = flow
        elif hook in {"requestheaders", "request"}:
            message = "Tollkeeper failed while checking this call and its policy is closed; see `tollkeeper status`."
            flow.response = as_response(refusal_for(endpoint, message))
        elif flow.killable:
            flow.kill()

    def running(self) -> None:
        """Keep the holds of long streams alive, as long as the process serves."""
        self._renewal = asyncio.get_running_loop().create_task(self._renew_holds())

    async def _renew_holds(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for passage in self.passages():
                if passage.held and not passage.settled:
                    with contextlib.suppress(LedgerError):  # the next settle will say so
                        await self.stages.ledger.renew(passage.call.id)

    def passages(self) -> list[Passage]:
        """The calls under way."""
        return [passage for flow in self.inflight.values() for passage in _passages(flow)]

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Find out who is calling: nearly always known at once, else waited for, before anything else is done."""
        checking = self.door.authenticate(flow)
        if checking is None:
            if flow.response is not None:
                return None
            who = self.stages.desk.at_once(flow.client_conn.id, flow.request.headers.fields)
            if who is not None:
                self._begin(flow, who)
                return None
        return self._identify(flow, checking)

    async def _identify(self, flow: http.HTTPFlow, checking: Shown | None) -> None:
        shown = await checking if checking is not None else None
        if flow.response is None:
            offered = as_texts(flow.request.headers.fields)
            self._begin(flow, await self.stages.desk.identify(flow.client_conn.id, offered, shown))

    def _begin(self, flow: http.HTTPFlow, who: Resolution) -> None:
        """Strip what no provider may see, refuse what is malformed, find out what is called."""
        request = flow.request
        request.headers.fields = strip(request.headers.fields, self.scan)
        flow.metadata[WHO] = who
        if self._is_ours(flow):
            if is_budget_page(request.path):
                flow.metadata[OURS] = True  # answered once it is complete: the ledger is read off the event loop
                return
            flow.response = http.Response.make(200, json.dumps(self.status()), {"content-type": "application/json"})
            return
        provider = self.stages.hosts.provider_of(request.host)
        if who.claims:
            request.headers.fields, flow.metadata[TAGS] = without_tags(request.headers.fields, provider)
        if provider is None:
            # Plain HTTP to anyone else: relayed as it comes, never buffered, never read.
            request.stream = True
            return
        if reason := fault(request.headers.fields):
            flow.response = error_response(400, reason)
            return
        named = request.headers.get_all("host")
        if request.is_http2 and request.authority not in named:
            named.insert(0, request.authority)
        if reason := misdirected(flow.client_conn.sni, request.host, named):
            flow.response = error_response(421, reason)
            return
        upgrade = "websocket" in (token.strip() for token in request.headers.get("upgrade", "").lower().split(","))
        method = "WEBSOCKET" if upgrade else request.method
        endpoint = endpoint_for(provider, request.host.lower(), method, ascii_target(request.path))
        endpoint = named_by_header(endpoint, request.headers)
        flow.metadata[ENDPOINT] = endpoint
        # Identity saves decoding and lets a chunk be read as soon as it comes; a server may still compress.
        request.headers["accept-encoding"] = "identity"
        if upgrade and self.stages.policy.enforces and (reason := self._refuses_upgrade(endpoint)):
            flow.response = error_response(426, reason)  # Codex falls back to HTTP at once
            return
        if upgrade:
            flow.metadata[UPGRADE] = True
        # A call that a rule may stop must be decided before its body leaves; nobody else's body is waited for without need.
        is_waited_for = endpoint.metering is Metering.METERED or (
            endpoint.metering is Metering.UNMETERED and self.stages.policy.enforces
        )
        is_unread = not is_waited_for or is_too_large(endpoint, request.headers.get("content-length"))
        if who.refusal is not None and self.stages.policy.enforces:
            is_unread = False  # nothing of it leaves
        request.stream = is_unread and not upgrade

    def _refuses_upgrade(self, endpoint: Endpoint) -> str | None:
        if self.stages.policy.websockets is Websockets.REFUSE:
            return "the policy lets no WebSocket through; use HTTP"
        # No budget can stop a session that is not read.
        return None if endpoint.dialect in SESSIONS else "this WebSocket cannot be metered; use HTTP"

    def _is_ours(self, flow: http.HTTPFlow) -> bool:
        """A plain request to the proxy's own address, which is its status page and nothing else."""
        request, sockname = flow.request, flow.client_conn.sockname
        names = {sockname[0], "localhost", "127.0.0.1", "::1"}
        is_caught = isinstance(flow.client_conn.proxy_mode, TransparentMode)  # there `sockname` is where the client wanted to go
        return not is_caught and request.scheme == "http" and request.port == sockname[1] and request.host in names

    async def _tell_budgets(self, flow: http.HTTPFlow) -> None:
        """Answer the page of the caller's own budgets."""
        attribution = self.door.origins.of(flow.client_conn.id, flow.metadata[WHO])
        flow.response = await budget_answer(self.stages, flow.metadata[WHO], attribution, flow.request.path)

    @guarded_async
    async def request(self, flow: http.HTTPFlow) -> None:
        """The body is complete: decide, hold, and change what must be changed."""
        endpoint: Endpoint | None = flow.metadata.get(ENDPOINT)
        if flow.request.trailers is not None:
            flow.request.trailers.fields = strip(flow.request.trailers.fields, self.scan)
        if flow.response is not None or flow.error is not None or endpoint is None:
            if OURS in flow.metadata and flow.error is None:
                await self._tell_budgets(flow)
            return
        who: Resolution = flow.metadata[WHO]
        raw = b"" if flow.request.stream else (flow.request.raw_content or b"")
        encoding = flow.request.headers.get("content-encoding", "")
        try:
            body = decoded(raw, encoding)
        except WireError as error:
            flow.response = as_response(refusal_for(endpoint, f"Tollkeeper cannot read this request: {error}"))
            return
        path = ascii_target(flow.request.path)
        try:
            bound = is_bound(endpoint.host, flow.request.headers.fields)
            client = client_of(flow.request.headers.get("user-agent", ""))
            attribution = self.door.origins.of(flow.client_conn.id, who, client)
            handshake = UPGRADE in flow.metadata and endpoint.dialect in SESSIONS
            passage = await self.road.admit(
                endpoint,
                path,
                body,
                who.principal,
                attribution,
                fields=flow.request.headers.fields,
                bound=bound,
                handshake=handshake,
                fault=who.refusal,
                tags=flow.metadata.get(TAGS, ()),
            )
        except LedgerError as error:
            flow.response = as_response(refusal_for(endpoint, f"Tollkeeper cannot record this call, so it is refused: {error}"))
            return
        flow.metadata[PASSAGE] = passage
        if passage.refusal is not None:
            flow.response = as_response(passage.refusal)
            flow.response.headers.update(response_headers(passage.decision))
            return
        self.inflight[flow.id] = flow
        address(flow, passage, encoding, raw)
        if passage.decision.verdict is not Verdict.ALLOW or passage.decision.fallbacks:
            tries.prepare(self.road, flow, passage)

    @guarded_async
    async def second_try(self, flow: http.HTTPFlow) -> None:
        """An answer has begun, or there will be none: the call may be sent again, elsewhere or as it was."""
        if (passage := flow.metadata.get(PASSAGE)) is not None:
            flow.metadata[PASSAGE] = await tries.second_try(self.road, flow, passage)

    @guarded
    def responseheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """An answer begins: nothing of it is seen before the call's hold is on disk, as it nearly always is by now."""
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is not None and passage.on_disk is not None and (not passage.on_disk.done() or passage.on_disk.result()):
            return self._once_on_disk(flow, passage, passage.on_disk)
        self._answer_begins(flow, passage)
        return None

    async def _once_on_disk(self, flow: http.HTTPFlow, passage: Passage, on_disk: OnDisk) -> None:
        if (error := await on_disk) is not None and not self.road.goes_on(error):
            if flow.killable:
                flow.kill()
            return
        self._answer_begins(flow, passage)

    def _answer_begins(self, flow: http.HTTPFlow, passage: Passage | None) -> None:
        """Always stream: to other hosts as it comes, from a provider through the meter."""
        response = flow.response
        assert response is not None  # noqa: S101 — mitmproxy calls this hook with one
        if passage is None or passage.refusal is not None:
            if flow.metadata.get(ENDPOINT) is None and flow.server_conn.connected:
                response.stream = True
            return
        response.headers.pop("alt-svc", None)  # an HTTP/3 client would leave the proxy
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.fields}
        if response.status_code == 101:
            passage.status = 101
            bound = is_bound(passage.call.endpoint.host, flow.request.headers.fields)
            model = model_in_query(ascii_target(flow.request.path))
            flow.metadata[SOCKET] = open_socket(self.road, passage, model, headers, is_bound=bound, who=flow.metadata.get(WHO))
            return
        self.road.listen(passage, response.status_code, headers)
        if passage.strainer is not None:
            self._prepare_straining(response, passage, headers)
        decision = passage.decision
        if decision.rule or decision.warnings or decision.would is not decision.verdict:
            told = as_told(self.stages.policy, decision)
            response.headers.update(response_headers(told))
            if told.warnings:
                response.headers.update(tries.warning(passage, headers))
            if passage.repairs:
                response.headers["x-tollkeeper-repaired"] = "; ".join(passage.repairs)[:MAX_HEADER_CHARS]
        response.stream = passage.tap(self.stages.clock)
        if passage.stop is not None:
            tries.watch(flow, passage, response.stream)

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
        if passage.meter is not None and flow.response is not None and (trailers := flow.response.trailers):
            passage.meter.trailers({name.lower(): value for name, value in trailers.items()})
        await self.road.settle(passage, Outcome.OK, cut=False)

    @guarded_async
    async def error(self, flow: http.HTTPFlow) -> None:
        """The call broke off: by the client, the provider, or us."""
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is None:
            return
        self.inflight.pop(flow.id, None)
        left = not flow.client_conn.connected or (flow.error is not None and flow.error.msg.startswith(RESET_BY_CLIENT))
        outcome = Outcome.ABORTED if left else Outcome.CUT
        socket: Socket | None = flow.metadata.get(SOCKET)
        if socket is not None:
            await socket.end(outcome)
            return
        sent = flow.server_conn.timestamp_start is not None and flow.server_conn.error is None
        client_left = outcome is Outcome.ABORTED
        # A provider that closes before answering has not generated; a client that leaves may be billed for what it sent.
        await self.road.settle(passage, outcome, cut=True, sent=sent and (client_left or flow.response is not None))

    @guarded_async
    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        """A whole message, before it is sent on: a turn that begins with it waits here for the ledger."""
        if flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        flow.websocket.messages.clear()  # mitmproxy keeps every message for the life of a socket (#6620)
        socket: Socket | None = flow.metadata.get(SOCKET)
        if socket is None:
            return
        try:
            verdict = await socket.frame(message.content, from_client=message.from_client)
        except Exception:
            if self.stages.policy.on_fault == "closed":
                message.drop()
                flow.metadata[OUTBOX] = CUT_OFF
            raise
        if verdict.content is None:
            message.drop()
        elif verdict.content is not message.content:
            message.content = verdict.content
        if verdict.speaks:
            flow.metadata[OUTBOX] = verdict

    @guarded_async
    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """A socket is closed: what is still open in it is settled; one that was not read is recorded as unmetered."""
        passage: Passage | None = flow.metadata.get(PASSAGE)
        if passage is None:
            return
        self.inflight.pop(flow.id, None)
        socket: Socket | None = flow.metadata.get(SOCKET)
        if socket is not None:
            by_client = flow.websocket is not None and flow.websocket.closed_by_client
            await socket.end(Outcome.ABORTED if by_client else Outcome.CUT)
            return
        passage.notes = (*passage.notes, "websocket")
        await self.road.settle(passage, Outcome.OK, cut=False)

    async def done(self) -> None:
        """Drain: no new connections, streams end or are settled as partial, then the door and the ledger are closed."""
        if (server := ctx.master.addons.get("proxyserver")) is not None:
            await server.servers.update([])
        if self._renewal is not None:
            self._renewal.cancel()
        deadline = time.monotonic() + self.drain_seconds
        while any(map(_is_busy, self.inflight.values())) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for flow in list(self.inflight.values()):
            await self.error(flow)
        await self.door.close()
        await self.road.close()


def _passages(flow: http.HTTPFlow) -> Iterable[Passage]:
    """The calls under way in a flow: one, or the turns of a session."""
    socket: Socket | None = flow.metadata.get(SOCKET)
    if socket is not None:
        return socket.passages
    passage: Passage | None = flow.metadata.get(PASSAGE)
    return () if passage is None else (passage,)


def _is_busy(flow: http.HTTPFlow) -> bool:
    """Whether something would be lost if the flow broke off now; an idle session would not."""
    socket: Socket | None = flow.metadata.get(SOCKET)
    return socket is None or socket.is_busy
