"""Who is spoken to over HTTP/2: clients that speak nothing else, at hosts whose gRPC is read. Its traps: tests/e2e/test_http2.py."""

import pytest
from mitmproxy.proxy.layers import http as http_layers

from tollkeeper.gate.hosts import HostTable
from tollkeeper.proxy import h2
from tollkeeper.proxy.intercept import Passage, on_tls
from tollkeeper.proxy.options import LOCKED

HOSTS = HostTable.load()


def passage(host: str, *alpn: bytes, enforce: bool = False, sni: str | None = None) -> Passage:
    return on_tls(HOSTS.intercepts, sni or host, host, alpn, enforce=enforce, speaks_grpc=HOSTS.speaks_grpc)


@pytest.mark.parametrize("enforce", [False, True])
@pytest.mark.parametrize("alpn", [(b"h2",), (b"grpc-exp", b"h2")])
def test_a_grpc_client_is_opened_as_such_at_a_host_whose_grpc_is_read(alpn: tuple[bytes, ...], enforce: bool) -> None:
    assert passage("api.x.ai", *alpn, enforce=enforce) is Passage.OPEN_H2
    assert passage("us-east-1.api.x.ai", *alpn, enforce=enforce) is Passage.OPEN_H2


@pytest.mark.parametrize("alpn", [(b"h2", b"http/1.1"), (b"http/1.1",), ()])
def test_everyone_who_can_speak_http_1_1_is_opened_as_ever(alpn: tuple[bytes, ...]) -> None:
    assert passage("api.x.ai", *alpn) is Passage.OPEN


def test_a_grpc_client_elsewhere_is_tunnelled_while_observing_and_fails_under_enforce() -> None:
    assert passage("api.openai.com", b"h2") is Passage.TUNNEL
    assert passage("api.openai.com", b"h2", enforce=True) is Passage.OPEN
    assert passage("intranet.example", b"h2", enforce=True) is Passage.TUNNEL


def test_an_address_with_the_right_name_in_its_hello_is_opened_too() -> None:
    assert passage("203.0.113.7", b"h2", sni="api.x.ai") is Passage.OPEN_H2


def test_the_option_stays_off_and_the_layers_are_ours() -> None:
    assert LOCKED["http2"] is False
    assert h2.install()
    assert (http_layers.Http2Client, http_layers.Http2Server) == (h2.GracefulClient, h2.GracefulServer)
