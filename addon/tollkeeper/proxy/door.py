"""The hooks before HTTP: who may connect, which connections are opened, where they go."""

from collections.abc import Mapping
from typing import Any

from mitmproxy import http, tls
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from tollkeeper.core.call import Attribution
from tollkeeper.gate.access import check_credential

from .intercept import Passage, on_tls
from .resolve import Address
from .safety import guarded, note_fault
from .stages import Stages


class Door:
    """An addon: opens connections to AI hosts, tunnels the rest byte for byte, checks the proxy password."""

    name = "tollkeeper-door"

    def __init__(self, stages: Stages, *, credentials: Mapping[str, str], pins: Mapping[Address, Address]) -> None:
        self.stages = stages
        self.credentials = credentials
        self.pins = pins
        self.admitted: dict[str, Attribution] = {}
        self._original: dict[str, Address] = {}

    def is_ai(self, host: str) -> bool:
        """Whether connections to this host are opened."""
        return self.stages.hosts.intercepts(host)

    def on_fault(self, hook: str, error: BaseException, subject: Any) -> None:
        """A fault before HTTP. Under a closed policy the connection is dropped, else it goes its way and is counted."""
        note_fault(self.stages.counters, hook, error)
        if self.stages.policy.on_fault != "closed":
            return
        if isinstance(subject, ServerConnectionHookData):
            subject.server.error = "Tollkeeper fault; the policy is closed"
        elif isinstance(subject, http.HTTPFlow):
            subject.response = http.Response.make(503, b"", {"connection": "close"})

    @guarded
    def http_connect(self, flow: http.HTTPFlow) -> None:
        """A CONNECT: take the password out, and refuse without one when passwords are asked for."""
        self.authenticate(flow)

    def authenticate(self, flow: http.HTTPFlow) -> bool:
        """Check and remove ``Proxy-Authorization``; answer 407 and return False when it is wrong or missing."""
        values = flow.request.headers.get_all("proxy-authorization")
        flow.request.headers.pop("proxy-authorization", None)
        if not self.credentials or flow.client_conn.id in self.admitted:
            return True
        user = check_credential(values[0], self.credentials) if len(values) == 1 else None
        if user is None:
            flow.response = http.Response.make(
                407,
                b"Tollkeeper: this proxy asks for the password that `tollkeeper run` or `tollkeeper env` puts into HTTPS_PROXY.\n",
                {"proxy-authenticate": 'Basic realm="tollkeeper"', "content-type": "text/plain"},
            )
            return False
        self.admitted[flow.client_conn.id] = self.stages.attribution
        return True

    @guarded
    def client_disconnected(self, client: Any) -> None:
        """Forget what was known of a connection."""
        self.admitted.pop(client.id, None)

    @guarded
    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Open AI connections, tunnel the rest; an AI name in the SNI also decides where the connection goes."""
        hello, context = data.client_hello, data.context
        address = context.server.address
        target = address[0] if address else None
        enforce = self.stages.policy.mode == "enforce"
        passage = on_tls(self.is_ai, hello.sni, target, tuple(hello.alpn_protocols or ()), enforce=enforce)
        if passage is Passage.TUNNEL:
            self.stages.counters.tunnelled += 1
            data.ignore_connection = True
        elif hello.sni and address and hello.sni != address[0] and self.is_ai(hello.sni) and not self.is_ai(address[0]):
            # The client resolved the name itself, or says one name and dials another: the socket goes where the SNI says.
            context.server.address = (hello.sni, address[1])

    @guarded
    def next_layer(self, next_layer: NextLayer) -> None:
        """Bytes inside a CONNECT that are no TLS and go to no AI host are relayed, never parsed or kept."""
        context = next_layer.context
        data = next_layer.data_client()
        address = context.server.address
        if not address or data[:1] == b"\x16" or not data:
            return
        if not any(name and self.is_ai(name) for name in (context.client.sni, address[0])):
            self.stages.counters.tunnelled += 1
            next_layer.layer = TCPLayer(context, ignore=True)

    @guarded
    def tls_failed_client(self, data: tls.TlsData) -> None:
        """A client broke off its handshake with us; counted by host, for ``status`` and ``doctor``."""
        host = data.conn.sni or "unknown"
        seen = self.stages.counters.untrusting_hosts
        if host in seen or len(seen) < 1000:
            seen[host] = seen.get(host, 0) + 1

    @guarded
    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Dial the pinned address, if there is one."""
        address = data.server.address
        if self.pins and address and (pin := self.pins.get((address[0].lower(), address[1]))):
            self._original[data.server.id] = (address[0], address[1])
            data.server.address = pin

    @guarded
    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Restore the name after dialling: keep-alive looks connections up by it, and certificates are checked against it."""
        if original := self._original.pop(data.server.id, None):
            # mitmproxy forbids a new address on an open connection; this one is the address it was opened for.
            object.__setattr__(data.server, "address", original)

    @guarded
    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """As after a connection that succeeded."""
        self.server_connected(data)
