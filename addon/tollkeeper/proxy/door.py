"""The hooks before HTTP: who may connect, which connections are opened, where they go."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from mitmproxy import http, tls
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.layers import HttpLayer, TCPLayer
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from tollkeeper.gate.hosts import KnownHost
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.handles import ANY_UID, NEVER, Login, known

from .distrust import Distrust
from .egress import Asked, Egress, host_of_plain, is_http1
from .h2 import ALPN
from .intercept import Passage, on_tls
from .origins import Origins
from .resolve import Address
from .safety import guarded, guarded_async, note_fault
from .stages import Stages
from .unopened import Unopened

logger = logging.getLogger(__name__)

ASKED_NOTHING = Asked()
WANTED = "this proxy asks for the password that `tollkeeper run` or `tollkeeper env` puts into HTTPS_PROXY"
type Shown = Coroutine[Any, Any, Proof | Refused | None]
"""What a proxy password proves, to be awaited."""
LOOKS, LOOK_SECONDS = 20, 0.01
"""How often, and after what time, a client that has hung up is looked for again: nothing waits for that."""
TOLD = 100
"""Refused connections that are told one by one; after that they are only counted."""


class Door:
    """An addon: opens connections to AI hosts, tunnels the rest byte for byte, checks the proxy password."""

    name = "tollkeeper-door"

    def __init__(
        self,
        stages: Stages,
        *,
        credentials: Mapping[str, str],
        egress: Asked = ASKED_NOTHING,
        until: int = 0,
        is_shared: bool = True,
    ) -> None:
        self.stages = stages
        self._asked, self._policy = egress, stages.policy
        self._egress = egress.under(stages.policy)
        self.asks_password = bool(credentials)
        for user, password in credentials.items():
            uid = ANY_UID if is_shared else os.getuid()
            handle = known(Login(user, password), stages.principal, uid=uid, expires_at=until or NEVER)
            stages.desk.handles.hold(handle)
        self.origins = Origins(stages)
        self._admitted: set[str] = set()
        self.unopened = Unopened(stages)
        self.distrust = Distrust(stages.counters)

    async def close(self) -> None:
        """Record what is still to be recorded. Called when nobody comes in any more, and before the ledger is closed."""
        await self.unopened.drain()
        await self.stages.desk.close()

    def is_ai(self, host: str) -> bool:
        """Whether connections to this host are opened."""
        return self.stages.hosts.intercepts(host)

    def on_fault(self, hook: str, error: BaseException, subject: Any) -> None:
        """A fault before HTTP. Under a closed policy the connection is dropped, else it goes its way and is counted."""
        note_fault(self.stages.counters, hook, error)
        if not self.is_closed:
            return
        if isinstance(subject, ServerConnectionHookData):
            subject.server.error = "Tollkeeper fault; the policy is closed"
        elif isinstance(subject, tls.ClientHelloData | NextLayer):
            subject.context.server.error = "Tollkeeper fault; the policy is closed"
        elif isinstance(subject, http.HTTPFlow):
            subject.response = http.Response.make(503, b"", {"connection": "close"})

    @property
    def egress(self) -> Egress:
        """The rules for what is no AI traffic, under the policy of this moment."""
        if self.stages.policy is not self._policy:
            self._policy = self.stages.policy
            self._egress = self._asked.under(self._policy)
        return self._egress

    def check_address(self, host: str, ip: str) -> str | None:
        """Why ``host`` must not be dialled at ``ip``, under the policy of this moment."""
        return self.egress.address(host, ip)

    @property
    def is_closed(self) -> bool:
        """Whether what cannot be checked is refused."""
        return self.egress.strict or self.stages.policy.on_fault == "closed"

    def refuse(self, reason: str) -> None:
        """Count and tell a connection that the rules for others stopped. Names come from clients, so they are cut and quoted."""
        self.stages.counters.refused_connections += 1
        self.stages.counters.last_refused = "".join(letter if letter.isprintable() else "?" for letter in reason[:400])
        if self.stages.counters.refused_connections <= TOLD:
            logger.warning("refused a connection: %s", self.stages.counters.last_refused)

    @guarded
    def client_connected(self, client: Any) -> None:
        """Begin to find out which process it is."""
        self.stages.desk.connected(client.id, client.peername, client.sockname)

    @guarded
    def http_connect(self, flow: http.HTTPFlow) -> Shown | None:
        """A CONNECT: take the password out, and refuse without one when passwords are asked for."""
        return self.authenticate(flow, inside=False)

    def authenticate(self, flow: http.HTTPFlow, *, inside: bool = True) -> Shown | None:
        """Check and remove ``Proxy-Authorization``; answer 407 when one is asked for and it is wrong or missing.

        What is returned must be awaited before anything else is done with the flow: a token may have to wait for its issuer's keys.
        """
        headers = flow.request.headers
        if "proxy-authorization" in headers:
            values = headers.get_all("proxy-authorization")
            del headers["proxy-authorization"]
            return self._check(flow, values, inside=inside)
        if self.asks_password and flow.client_conn.id not in self._admitted:
            flow.response = _ask_password(WANTED)
        return None

    async def _check(self, flow: http.HTTPFlow, values: Sequence[str], *, inside: bool) -> Proof | Refused | None:
        connection = flow.client_conn.id
        found = await self.stages.desk.password(connection, values, inside=inside)
        # While watching only, a command whose log-in has ended goes on: its calls are recorded as such.
        has_ended = isinstance(found, Refused) and found.why is Why.EXPIRED and not self.stages.policy.enforces
        if found is not None and (not isinstance(found, Refused) or has_ended):
            self._admitted.add(connection)
        elif self.asks_password and connection not in self._admitted:
            flow.response = _ask_password(str(found or WANTED))
        return found

    @guarded
    def client_disconnected(self, client: Any) -> None:
        """Forget what was known of a connection."""
        self._admitted.discard(client.id)
        self.stages.desk.disconnected(client.id)
        self.origins.forget(client.id)

    @guarded
    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Open AI connections, tunnel the rest; an AI name in the SNI also decides where the connection goes."""
        hello, context = data.client_hello, data.context
        address = context.server.address
        target, port = (address[0], address[1]) if address else (None, 443)
        extensions = frozenset(kind for kind, _ in hello.extensions) if self.egress.strict else frozenset[int]()
        if reason := self.egress.hello(self.is_ai, hello.sni, target, port, extensions):
            self.refuse(reason)
            data.ignore_connection = True
            context.server.error = f"refused: {reason}"  # mitmproxy then opens nothing and closes the client's side
            return
        enforce = self.stages.policy.enforces or self.egress.strict
        alpn = tuple(hello.alpn_protocols or ())
        passage = on_tls(self.is_ai, hello.sni, target, alpn, enforce=enforce, speaks_grpc=self.stages.hosts.speaks_grpc)
        if passage is Passage.OPEN_H2:
            context.client.alpn = ALPN
        if passage is Passage.TUNNEL:
            self.stages.counters.tunnelled += 1
            data.ignore_connection = True
            host = next(filter(None, map(self.stages.hosts.find, filter(None, (hello.sni, target)))), None)
            if host and (reason := self._unopened(context.client.id, host, hello.sni or target or "")):
                self.refuse(reason)
                context.server.error = f"refused: {reason}"
                return
            if self.egress.strict and hello.sni and address:
                context.server.address = (hello.sni, address[1])  # not where the client looked it up
        elif hello.sni and address and hello.sni != address[0] and self.is_ai(hello.sni) and not self.is_ai(address[0]):
            # The client resolved the name itself, or says one name and dials another: the socket goes where the SNI says.
            context.server.address = (hello.sni, address[1])

    def _unopened(self, connection: str, host: KnownHost, name: str) -> str | None:
        """Why a connection that will not be opened must not be made: all that says who makes it is the connection itself."""
        who = self.stages.desk.at_once(connection, (), in_a_hurry=True)
        fault = who.refusal if who is not None else None
        principal = who.principal if who is not None else self.stages.principal
        return self.unopened.admit(host, name, principal, self.origins.of(connection, who), fault)

    @guarded
    def next_layer(self, next_layer: NextLayer) -> None:
        """Bytes inside a CONNECT that are no TLS and go to no AI host are relayed, never parsed or kept."""
        context = next_layer.context
        data = next_layer.data_client()
        address = context.server.address
        if not address or data[:1] == b"\x16" or not data:
            return
        if not context.client.tls and self.egress.strict and is_http1(data):
            next_layer.layer = HttpLayer(context, HTTPMode.transparent)  # every request is looked at, not only the first
        elif not context.client.tls and not self._lets_plain(data, address):
            context.server.error = "refused: not TLS"
            next_layer.layer = TCPLayer(context, ignore=True)
        elif not any(name and self.is_ai(name) for name in (context.client.sni, address[0])):
            self.stages.counters.tunnelled += 1
            next_layer.layer = TCPLayer(context, ignore=True)

    def _lets_plain(self, data: bytes, address: Address) -> bool:
        """Whether bytes that are no TLS may go on: a provider called in plain HTTP may not, wherever the client says it is."""
        host, port = address[0], address[1]
        if self.egress.strict and not self.egress.lists(host, port):
            reason: str | None = f"what is said to {host[:255]} is neither TLS nor HTTP"
        else:
            reason = self.egress.plain(self.is_ai, host_of_plain(data), host, port)
        if reason is not None:
            self.refuse(reason)
        return reason is None

    @guarded_async
    async def tls_failed_client(self, data: tls.TlsData) -> None:
        """A client broke off its handshake with us: find out who, for the log, ``status`` and ``doctor``."""
        if data.ssl_conn is None:  # before its hello was read: nobody has seen a certificate of ours
            return
        host, connection = data.conn.sni or "unknown", data.context.client
        peer = await self.stages.desk.peer(connection.id)
        for _ in range(LOOKS):
            if peer is None or peer.command:
                break
            await asyncio.sleep(LOOK_SECONDS)
            peer = await self.stages.desk.peer(connection.id) or peer
        self.distrust.failed(host, connection.peername[0], peer, data.conn.error or "")

    @guarded
    def tls_established_client(self, data: tls.TlsData) -> None:
        """A client trusts us."""
        connection = data.context.client
        peer = self.stages.desk.peers.at_once(connection.id)[1]
        self.distrust.worked(data.conn.sni or "unknown", connection.peername[0], peer)

    @guarded
    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Speak HTTP/2 to the provider where the client does."""
        if data.client.alpn == ALPN:
            data.server.alpn_offers = (ALPN,)


def _ask_password(reason: str) -> http.Response:
    headers = {"proxy-authenticate": 'Basic realm="tollkeeper"', "content-type": "text/plain"}
    return http.Response.make(407, f"Tollkeeper: {reason}.\n".encode(), headers)
