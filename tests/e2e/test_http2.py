"""HTTP/2 for gRPC alone: trailers, GOAWAY, cancelled and many streams, and one name everywhere; all else stays on HTTP/1.1."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.h2_peers import STREAM, UNARY, H2Client, H2Provider, running_h2_provider
from e2e.harness import RunningProxy, running_proxy, wait_for
from e2e.prices import tokens_of
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.wire.framing.grpc import GrpcReader

pytestmark = pytest.mark.e2e

ENFORCING = 'schema = 1\nmode = "enforce"\n[budget.tiny]\namount = "0.000001 USD"\nwindow = "day"\nmessage = "Ask ada."\n'


@pytest.fixture(scope="module")
def started() -> Iterator[H2Provider]:
    with running_h2_provider() as provider:
        yield provider


@pytest.fixture
def xai(started: H2Provider) -> H2Provider:
    """The module's provider with an empty bill."""
    started.bill = type(started.bill)()
    return started


def _extra(provider: H2Provider, folder: Path) -> dict[str, str]:
    trusted = folder / "h2-provider.pem"
    trusted.write_bytes(provider.authority.root_pem)
    pins = ",".join(f"{host}:443=127.0.0.1:{provider.port}" for host in ("api.x.ai", "api.openai.com"))
    return {"TOLLKEEPER_RESOLVE": pins, "SSL_CERT_FILE": str(trusted)}


@pytest.fixture(scope="module")
def proxy(started: H2Provider, shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    folder = tmp_path_factory.mktemp("http2")
    with running_proxy(folder / "home", shared_provider, extra=_extra(started, folder)) as running:
        yield running


@pytest.fixture
def client(proxy: RunningProxy) -> Iterator[H2Client]:
    connected = H2Client(proxy.port, proxy.bundle)
    yield connected
    connected.close()


def test_a_stream_comes_whole_with_its_trailers_and_the_ledger_has_it(
    client: H2Client, proxy: RunningProxy, xai: H2Provider
) -> None:
    before = len(proxy.ledger.ended())
    (answer,) = client.get(client.ask(chunks=40))
    assert (answer.headers[":status"], answer.trailers) == ("200", {"grpc-status": "0", "x-fake-trailer": "here"})
    assert len(GrpcReader().feed(answer.data)) == 40
    entry = proxy.ledger.since(before)
    assert (entry["usage_source"], entry["outcome"], tokens_of(entry)["output"]) == ("reported", "ok", 52)
    assert xai.bill.protocols == ["h2"]


def test_pieces_come_as_they_are_sent(client: H2Client, xai: H2Provider) -> None:
    stream = client.ask(chunks=10, hold_after=3)
    client.until(lambda: len(GrpcReader().feed(client.answers[stream].data)) == 3)
    assert xai.bill.sent == 3, "the provider sends the rest only now"
    xai.bill.go_on.set()
    (answer,) = client.get(stream)
    assert len(GrpcReader().feed(answer.data)) == 10


def test_twelve_streams_at_once_share_one_connection_and_none_waits_for_another(client: H2Client, xai: H2Provider) -> None:
    client.get(client.ask(chunks=1))
    streams = [client.ask(chunks=5, hold_after=2) for _ in range(12)]
    client.until(lambda: all(len(GrpcReader().feed(client.answers[stream].data)) == 2 for stream in streams))
    assert not any(client.answers[stream].ended for stream in streams), "all twelve are under way"
    xai.bill.go_on.set()
    assert all(answer.trailers["grpc-status"] == "0" for answer in client.get(*streams))
    assert xai.bill.connections == 1


def test_a_burst_on_a_fresh_connection_is_answered(client: H2Client, proxy: RunningProxy) -> None:
    answers = client.get(*(client.ask(UNARY, chunks=1) for _ in range(60)))
    assert {answer.trailers["grpc-status"] for answer in answers} == {"0"}
    assert not proxy.ledger.holds()


def test_a_goaway_lets_the_streams_under_way_finish_and_the_next_request_opens_a_new_connection(
    client: H2Client, proxy: RunningProxy, xai: H2Provider
) -> None:
    before = len(proxy.ledger.ended())
    others = [client.ask(chunks=8, hold_after=2) for _ in range(3)]
    client.until(lambda: all(client.answers[stream].data for stream in others))
    leaving = client.ask(chunks=8, hold_after=4, goaway_at=3)
    client.until(lambda: len(GrpcReader().feed(client.answers[leaving].data)) > 3)
    late = client.ask(chunks=2)
    client.get(late)
    xai.bill.go_on.set()
    for answer in client.get(*others, leaving, late):
        assert (answer.reset, answer.trailers["grpc-status"]) == (None, "0")
    assert [len(GrpcReader().feed(client.answers[stream].data)) for stream in (*others, leaving)] == [8, 8, 8, 8]
    assert xai.bill.connections == 2
    assert not client.goaway, "the client's own connection goes on"
    (again,) = client.get(client.ask(chunks=1))
    assert again.trailers["grpc-status"] == "0"
    assert xai.bill.connections == 2
    entries = proxy.ledger.wait(lambda view: len(view.ended()) == before + 6 and view.ended()[before:], "all are settled")
    assert {(entry["usage_source"], entry["outcome"]) for entry in entries} == {("reported", "ok")}


def test_a_request_that_a_closing_provider_did_not_take_fails_so_that_it_may_be_tried_again(
    client: H2Client, proxy: RunningProxy, xai: H2Provider
) -> None:
    before = len(proxy.ledger.ended())
    (answer,) = client.get(client.ask(refuse=1))
    assert answer.headers[":status"] == "502", "gRPC clients read it as UNAVAILABLE"
    entry = proxy.ledger.since(before)
    assert (entry["usage_source"], entry["exposure_nanousd"]) == ("none", 0)
    (again,) = client.get(client.ask(chunks=1))
    assert again.trailers["grpc-status"] == "0"


def test_a_client_that_goes_away_gracefully_gets_the_rest_of_its_streams(
    client: H2Client, proxy: RunningProxy, xai: H2Provider
) -> None:
    before = len(proxy.ledger.ended())
    stream = client.ask(chunks=8, hold_after=2)
    client.until(lambda: bool(client.answers[stream].data))
    client.say_goaway()
    xai.bill.go_on.set()
    (answer,) = client.get(stream)
    assert answer.trailers["grpc-status"] == "0"
    assert proxy.ledger.since(before)["outcome"] == "ok"
    client.until(lambda: client.goaway or client.socket.recv(1) == b"")


def test_a_cancelled_stream_is_cancelled_upstream_and_charged_while_the_others_go_on(
    client: H2Client, proxy: RunningProxy, xai: H2Provider
) -> None:
    before = len(proxy.ledger.ended())
    kept, dropped = client.ask(chunks=12, hold_after=4), client.ask(chunks=100, hold_after=4)
    client.until(lambda: all(len(GrpcReader().feed(client.answers[stream].data)) == 4 for stream in (kept, dropped)))
    client.cancel(dropped)
    wait_for(lambda: xai.bill.reset == 1, "the provider is told")
    xai.bill.go_on.set()
    assert client.get(kept)[0].trailers["grpc-status"] == "0"
    entries = proxy.ledger.wait(lambda view: len(view.ended()) == before + 2 and view.ended()[before:], "both are settled")
    (entry,) = [entry for entry in entries if entry["outcome"] == "aborted"]
    assert entry["usage_source"] == "partial"
    assert tokens_of(entry)["output"] == 4 + 12


def test_a_client_that_leaves_before_the_answer_may_be_billed_for_what_it_sent(
    client: H2Client, proxy: RunningProxy, xai: H2Provider
) -> None:
    before = len(proxy.ledger.ended())
    stream = client.ask(UNARY, chunks=1, hold_after=0)
    wait_for(lambda: xai.bill.asked, "the request reaches the provider")
    client.cancel(stream)
    entry = proxy.ledger.since(before)
    assert (entry["usage_source"], entry["outcome"]) == ("partial", "aborted")
    assert entry["exposure_nanousd"] > 0
    assert not proxy.ledger.holds()


def test_a_stream_that_the_provider_resets_is_seen_as_broken_and_charged_for_what_came(
    client: H2Client, proxy: RunningProxy
) -> None:
    before = len(proxy.ledger.ended())
    (answer,) = client.get(client.ask(chunks=20, delay_ms=5, reset_at=6))
    assert (answer.reset is not None, answer.ended) == (True, False)
    entry = proxy.ledger.since(before)
    assert (entry["usage_source"], entry["outcome"], tokens_of(entry)["output"]) == ("partial", "cut", 5 + 12)


def test_another_authority_inside_the_connection_is_refused(client: H2Client, xai: H2Provider) -> None:
    (answer,) = client.get(client.ask(authority="api.openai.com"))
    assert answer.headers[":status"] == "421"
    assert not xai.bill.asked, "nothing reached the provider"
    named = (client.ask(chunks=1, authority="api.x.ai:443"), client.ask(chunks=1, extra=(("host", "api.x.ai"),)))
    assert [answer.trailers["grpc-status"] for answer in client.get(*named)] == ["0", "0"]


@pytest.mark.parametrize("path", [STREAM, UNARY])
def test_a_refusal_is_an_answer_of_nothing_but_a_status(
    path: str, xai: H2Provider, shared_provider: FakeProvider, tmp_path: Path
) -> None:
    with running_proxy(tmp_path / "home", shared_provider, policy=ENFORCING, extra=_extra(xai, tmp_path)) as enforcing:
        client = H2Client(enforcing.port, enforcing.bundle)
        (answer,) = client.get(client.ask(path))
        assert (answer.headers[":status"], answer.headers["content-type"], answer.headers["grpc-status"]) == (
            "200",
            "application/grpc",
            "3",
        )
        assert "Ask ada." in answer.headers["grpc-message"]
        assert (answer.data, answer.trailers, answer.ended) == (b"", {}, True)
        assert not xai.bill.connections
        client.close()


@pytest.mark.parametrize("offers", [("h2", "http/1.1"), ("http/1.1", "h2"), ("http/1.1",)])
def test_a_client_that_can_speak_http_1_1_does_towards_xai_too(
    offers: tuple[str, ...], proxy: RunningProxy, xai: H2Provider
) -> None:
    client = H2Client(proxy.port, proxy.bundle, alpn=offers)
    assert client.protocol == "http/1.1"
    client.socket.sendall(b"GET /v1/models HTTP/1.1\r\nhost: api.x.ai\r\n\r\n")
    assert client.socket.recv(4096).startswith(b"HTTP/1.1 200")
    assert xai.bill.protocols == ["http/1.1"]
    client.close()


def test_a_client_that_speaks_only_http_2_to_another_provider_is_tunnelled_and_counted(
    proxy: RunningProxy, xai: H2Provider
) -> None:
    status = json.loads(urllib.request.urlopen(proxy.url).read())
    client = H2Client(proxy.port, xai.authority.root_pem, target="api.openai.com", sni="api.openai.com")
    assert client.socket.getpeercert(binary_form=True) == xai.authority.server_der, "the provider's own certificate"
    assert json.loads(urllib.request.urlopen(proxy.url).read())["tunnelled"] == status["tunnelled"] + 1
    client.close()


def test_a_channel_goes_on_after_more_calls_than_are_remembered(client: H2Client, proxy: RunningProxy, xai: H2Provider) -> None:
    before = len(proxy.ledger.ended())
    for _ in range(14):
        answers = client.get(*(client.ask(chunks=1) for _ in range(50)))
        assert {answer.trailers["grpc-status"] for answer in answers} == {"0"}
    assert xai.bill.connections == 1
    assert len(proxy.ledger.ended()) == before + 700
    assert not proxy.ledger.holds()


def test_a_large_answer_passes_a_client_that_reads_slowly(client: H2Client, xai: H2Provider) -> None:
    stream = client.ask(chunks=3000)
    time.sleep(0.3)
    (answer,) = client.get(stream)
    assert len(GrpcReader().feed(answer.data)) == 3000
    assert answer.trailers["grpc-status"] == "0"
