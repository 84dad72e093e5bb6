"""Plain ``http://`` requests behind a company's proxy."""

from mitmproxy import http

from .chain import UpstreamProxy
from .safety import guarded, note_fault
from .stages import Counters


class PlainThrough:
    """An addon, last of the chain: plain ``http://`` requests go to the company's proxy as it expects them, in absolute form."""

    name = "tollkeeper-plain-through"

    def __init__(self, proxy: UpstreamProxy, counters: Counters) -> None:
        self.proxy, self.counters = proxy, counters

    def on_fault(self, hook: str, error: BaseException, flow: http.HTTPFlow) -> None:
        """Without this hook a plain request goes by CONNECT like the rest: nothing is lost."""
        note_fault(self.counters, hook, error)

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """After our own headers were taken out: the name into the request line, the proxy's address under it, its password on top."""
        request = flow.request
        if flow.response is not None or request.scheme != "http" or self.proxy.is_direct(request.host, request.port):
            return
        named = request.headers.get_all("host")
        host = f"[{request.host}]" if ":" in request.host else request.host
        authority = host if request.port == 80 else f"{host}:{request.port}"
        request.host, request.port = self.proxy.address
        request.headers.set_all("host", named or [authority])
        request.authority = authority
        if self.proxy.authorization:
            request.headers["proxy-authorization"] = self.proxy.authorization
