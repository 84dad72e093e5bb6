"""What a client receives through the proxy is what it would have received without it, to the byte."""

import urllib.request
from pathlib import Path

import pytest

from e2e.harness import RunningProxy
from e2e.raw import SHAPES, Answer, Caller
from tollkeeper.cli.demo_provider import FakeProvider

pytestmark = pytest.mark.e2e

STREAMS = [name for name in SHAPES if "stream" in name or name.startswith("gemini-")]
ASKED_BY_US = {"chat-stream", "chat-stream-options"}
"""Their usage comes because we ask for it, and it cannot be taken out of compressed bytes: they have a test of their own."""
FORMS = {
    "plain": {},
    "crlf": {"crlf": 1},
    "every-7-bytes": {"split": 7, "chunks": 3},
    "at-once": {"at_once": 1},
    "close-delimited": {"close": 1},
    "long": {"chunks": 400, "text": "αβγ 😀 \\n \\u2028"},
    "two-kilobyte-pieces": {"text_bytes": 20_000, "chunks": 10},
}
OWN_TO_A_CONNECTION = {"transfer-encoding", "connection", "content-length"}


def _seen(answer: Answer) -> tuple[int, bytes, bool, dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name not in OWN_TO_A_CONNECTION}
    return answer.status, answer.body, answer.whole, headers


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_arrives_byte_for_byte(name: str, form: str, direct: Caller, proxied: Caller) -> None:
    script = {"id": f"fake-{name}-{form}", **FORMS[form]}
    expected = direct.call(SHAPES[name], **_latin(script))
    assert expected.body
    assert _seen(proxied.call(SHAPES[name], **_latin(script))) == _seen(expected)


@pytest.mark.parametrize("name", SHAPES)
def test_an_answer_and_an_error_arrive_byte_for_byte(name: str, direct: Caller, proxied: Caller) -> None:
    for script in ({"id": f"fake-{name}"}, {"status": 500}, {"status": 429}):
        assert _seen(proxied.call(SHAPES[name], **script)) == _seen(direct.call(SHAPES[name], **script))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("name", ["chat", *(name for name in STREAMS if name not in ASKED_BY_US)])
def test_an_answer_that_was_compressed_unasked_arrives_as_it_was_sent(
    name: str, encoding: str, direct: Caller, proxied: Caller
) -> None:
    script = {"id": f"fake-{name}-{encoding}", "encoding": encoding}
    assert _seen(proxied.call(SHAPES[name], **script)) == _seen(direct.call(SHAPES[name], **script))


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_compressed_chat_stream_is_still_metered(encoding: str, proxied: Caller, observing, provider) -> None:
    answer = proxied.call(SHAPES["chat-stream"], encoding=encoding, input_tokens=1234)
    assert answer.whole
    (billed,) = provider.bills.billed()
    assert observing.ledger.of(billed.id)["usage_source"] == "reported"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_an_answer_that_expands_enormously_is_passed_on_and_costs_no_memory(
    proxied: Caller, direct: Caller, observing: RunningProxy
) -> None:
    script = {"id": "fake-bomb", "encoding": "gzip", "text_bytes": 100_000_000, "chunks": 1, "input_tokens": 3}
    before, count = _peak_kb(observing), len(observing.ledger.ended())
    answer = proxied.call(SHAPES["messages"], **script)
    assert answer.whole
    assert answer.body == direct.call(SHAPES["messages"], **script).body
    assert observing.ledger.since(count)["exposure_nanousd"] > 0
    assert _peak_kb(observing) - before < 100_000


def _peak_kb(proxy: RunningProxy) -> int:
    lines = Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_events_arrive_as_they_are_sent_and_are_not_gathered(
    proxied: Caller, observing: RunningProxy, provider: FakeProvider
) -> None:
    before = len(observing.ledger.ended())
    with proxied.opened(SHAPES["messages-stream"], chunks=600, delay_ms=50) as response:
        read = b""
        for count in (1, 2, 3):
            while read.count(b"content_block_delta") < count:
                read += response.read1(65536)
            assert not provider.bills.billed(), "the provider has most of it still to send"
    assert observing.ledger.since(before)["outcome"] == "aborted"


def test_interim_answers_and_trailers_do_not_stop_a_call(proxied: Caller, direct: Caller) -> None:
    for name in ("chat", "messages-stream", "chat-stream"):
        answer = proxied.call(SHAPES[name], id="fake-hints", early_hints=1, trailers=1)
        assert _seen(answer) == _seen(direct.call(SHAPES[name], id="fake-hints")), "http.client itself cannot read a 103"


def _latin(script: dict[str, object]) -> dict[str, object]:
    """Header values travel as Latin-1; what does not fit is sent as the bytes of its UTF-8."""
    return {name: str(value).encode().decode("latin-1") for name, value in script.items()}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_client_that_reads_slowly_holds_its_provider_back_and_fills_no_memory(proxied: Caller, observing: RunningProxy) -> None:
    def resident_kb() -> int:
        status = Path(f"/proc/{observing.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    size, read_bytes, most_kb = 80_000_000, 0, 0
    with proxied.opened(SHAPES["messages-stream"], text_bytes=size, chunks=400) as response:
        before_kb = resident_kb()
        while piece := response.read(2**20):
            read_bytes += len(piece)
            most_kb = max(most_kb, resident_kb())
            page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{observing.url}/status", timeout=60)
            page.close()
    assert read_bytes > size
    assert most_kb - before_kb < 30_000, f"of {size // 1000} kB {most_kb - before_kb} kB lay in the proxy"
