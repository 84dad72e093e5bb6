"""Requests before they are anybody's call: base URLs are turned into what they stand for, other plain traffic is let go on or refused."""

from typing import Any

from mitmproxy import http
from mitmproxy.proxy.mode_specs import TransparentMode

from .door import Door
from .egress import bare_host
from .modes import Mode, based, is_foreign_page
from .safety import guarded, note_fault


class Entrance:
    """An addon between the door and the hooks. In ``reverse`` mode nothing but base URLs and our own status page passes."""

    name = "tollkeeper-entrance"

    def __init__(self, door: Door, mode: Mode) -> None:
        self.door, self.mode = door, mode

    def on_fault(self, hook: str, error: BaseException, flow: Any) -> None:
        """A request that could not be looked at is refused where the policy is closed."""
        note_fault(self.door.stages.counters, hook, error)
        if self.door.is_closed and isinstance(flow, http.HTTPFlow):
            flow.response = refused(503, "Tollkeeper failed while looking at this request, and its policy is closed")

    @guarded
    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Once the door has asked for the password: refuse tunnels that may not be."""
        if flow.response is not None:
            return
        reason = self.door.egress.connect(self.door.is_ai, flow.request.host, flow.request.port)
        if self.mode is Mode.REVERSE:
            reason = "this proxy answers base URLs only (--mode reverse)"
        if reason is not None:
            self.door.refuse(reason)
            flow.response = refused(403, reason)

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """A base URL is sent on as what it stands for; plain traffic to anyone else goes by the rules for others."""
        request = flow.request
        sockname = flow.client_conn.sockname
        if request.scheme != "http" or flow.client_conn.tls:
            return
        is_caught = isinstance(flow.client_conn.proxy_mode, TransparentMode)
        if not is_caught and request.port == sockname[1] and request.host in {sockname[0], "localhost", "127.0.0.1", "::1"}:
            if (found := based(request.path, self.door.is_ai)) is not None:
                if is_foreign_page(request.headers.get_all("origin")):
                    self.door.refuse("a web page of another site calls a base URL")
                    flow.response = refused(403, "a web page may not call in the name of whoever looks at it (Origin)")
                    return
                host, request.path = found
                request.scheme, request.port, request.host = "https", 443, host
            return
        if self.mode is Mode.REVERSE:
            reason: str | None = "this proxy answers base URLs only (--mode reverse)"
        else:
            reason = self._plain(flow)
        if reason is not None:
            self.door.refuse(reason)
            flow.response = refused(403, reason)

    def _plain(self, flow: http.HTTPFlow) -> str | None:
        """Why a plain request is refused. A strict egress sends it where its one Host says, by our own DNS."""
        request, egress = flow.request, self.door.egress
        if not egress.strict:
            return None if self.door.is_ai(request.host) else egress.connect(self.door.is_ai, request.host, request.port)
        named = request.headers.get_all("host")
        if len(named) != 1:
            return f"it has {len(named)} Host headers"
        host = bare_host(named[0].encode("latin-1", "replace"))
        if isinstance(flow.client_conn.proxy_mode, TransparentMode):
            request.host = host
            request.headers["host"] = named[0]
        elif host != request.host.lower().rstrip("."):
            return f"it is sent to {request.host[:255]} and says {host[:255]} (Host)"
        reason = egress.plain(self.door.is_ai, host, host, request.port)
        return reason or egress.connect(self.door.is_ai, host, request.port)


def refused(status: int, reason: str) -> http.Response:
    """An answer in words: no provider's shape fits a request that goes to none."""
    return http.Response.make(
        status, f"Tollkeeper: refused: {reason}\n".encode(), {"content-type": "text/plain", "connection": "close"}
    )
