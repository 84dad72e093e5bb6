"""HAR as the programs that write it spell it: forms, base64, keys in any order, sockets with and without frames."""

import base64
import copy
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.usage import Reading, UsageSource
from tollkeeper.wire.archives import ArchiveError, began_at
from tollkeeper.wire.exchange import Exchange, read_exchange
from wire.samples import CHAT_STREAM
from wire.test_archives import ENTRY, har, read_all, the

SPEECH = "https://api.openai.com/v1/audio/transcriptions"
REALTIME = "https://api.openai.com/v1/realtime?model=gpt-realtime"


def entry(request: dict[str, Any] | None = None, response: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(ENTRY)
    made["request"] |= request or {}
    made["response"] |= response or {}
    return made | changes


def read(one: dict[str, Any]) -> tuple[Exchange, Reading, str | None]:
    """The only exchange of a HAR, what it used, and the model that it asked for."""
    (item,) = read_all(har(one))
    _, ask, reading = read_exchange(the(item), "openai")
    return the(item), reading, ask.model


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=----x", "Multipart/Form-Data", ""])
def test_a_form_whose_text_was_not_kept_is_read_by_its_params(kind: str) -> None:
    params = [
        {"name": "model", "value": "whisper-1"},
        {"name": "file", "fileName": 'a".wav', "contentType": "audio/wav"},
        {"name": "prompt", "value": "--x\r\n\r\nmodel"},
    ]
    answer = {"content": {"mimeType": "application/json", "text": '{"text":"hello","usage":{"type":"duration","seconds":7}}'}}
    _, reading, model = read(entry({"url": SPEECH, "postData": {"mimeType": kind, "params": params}}, answer))
    assert model == "whisper-1"
    assert [call.units for call in reading.calls] == [{"audio_input_seconds": 7}]


def test_params_beside_the_text_of_a_body_change_nothing() -> None:
    post = {"mimeType": "application/json", "text": '{"model":"gpt-4o"}', "params": [{"name": "model", "value": "other"}]}
    exchange, _, model = read(entry({"postData": post}))
    assert (exchange.request_body, model) == (b'{"model":"gpt-4o"}', "gpt-4o")


def test_a_form_below_its_own_headers_is_read() -> None:
    """Firefox keeps them in ``text`` (``CurlUtils.getHeadersFromMultipartText`` of its network monitor takes them out again)."""
    part = 'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1'
    body = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99\r\n\r\n--b\r\n{part}\r\n--b--\r\n"
    post = {"mimeType": "multipart/form-data; boundary=b", "params": [], "text": body}
    assert read(entry({"url": SPEECH, "postData": post}))[2] == "whisper-1"


def test_params_of_no_form_are_sent_as_a_browser_sends_them() -> None:
    post = {"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a b", "value": "ü&"}, {"name": "c"}, 7]}
    assert read(entry({"postData": post}))[0].request_body == b"a+b=%C3%BC%26&c="


@pytest.mark.parametrize("params", [None, 7, "x", {}, [7, None, []], [{"name": None, "value": 7}]])
def test_params_that_are_none_do_no_harm(params: Any) -> None:
    (item,) = read_all(har(entry({"postData": {"mimeType": "multipart/form-data", "params": params}})))
    assert isinstance(item, Exchange)


@pytest.mark.parametrize("word", ["base64", "Base64", "BASE64"])
def test_base64_is_unpacked_in_either_body_however_it_is_written(word: str) -> None:
    asked = {"text": base64.b64encode(b'{"model":"gpt-4o-mini"}').decode(), "encoding": word}
    said = {"text": base64.b64encode(CHAT_STREAM).decode(), "encoding": word}
    exchange, _, model = read(entry({"postData": asked}, {"content": said}))
    assert (model, exchange.response_body) == ("gpt-4o-mini", CHAT_STREAM)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_log_need_not_be_the_first_key(indent: int | None, pack: Any) -> None:
    document = {"_recorder": "x" * 5_000, "log": {"version": "1.2", "entries": [ENTRY, 7]}}
    first, second = read_all(pack(json.dumps(document, indent=indent).encode()))
    assert the(first).id == "file#1"
    assert isinstance(second, ArchiveError)
    assert second.id == "file#2"


def test_a_document_over_many_lines_that_is_no_har_is_one_error() -> None:
    (found,) = read_all(b'{\n "name": "package",\n "log": 7\n}')
    assert isinstance(found, ArchiveError)
    assert found.is_file


def test_a_byte_that_is_no_utf8_costs_its_own_character_only() -> None:
    (item,) = read_all(har(entry(comment="caf#")).replace(b"caf#", b"caf\xe9"))
    assert read_exchange(the(item), "openai")[2].source is UsageSource.REPORTED


def test_the_type_of_an_answer_is_the_contents_where_its_headers_are_lost() -> None:
    lost = {"headers": [], "content": {"mimeType": "text/event-stream", "text": CHAT_STREAM.decode()}}
    assert read(entry(response=lost))[0].response_headers == {"content-type": "text/event-stream"}
    stated = {"content": {"mimeType": "x-unknown", "text": CHAT_STREAM.decode()}}
    assert read(entry(response=stated))[0].response_headers["content-type"] == "text/event-stream"


def test_headers_may_be_pairs_and_a_status_text() -> None:
    exchange, _, _ = read(entry(response={"status": "401", "headers": [["Date", "x"], ["y"], 7]}))
    assert (exchange.status, exchange.response_headers) == (401, {"date": "x"})


@pytest.mark.parametrize("content", [{}, {"size": 0, "mimeType": "x-unknown"}, {"text": ""}, {"text": "Switching Protocols"}])
@pytest.mark.parametrize("url", [REALTIME, REALTIME.replace("https:", "wss:")])
def test_a_socket_whose_frames_were_not_recorded_is_not_free(content: dict[str, Any], url: str) -> None:
    _, reading, _ = read(entry({"method": "GET", "url": url}, {"status": 101, "content": content, "headers": []}))
    assert (reading.source, reading.model, reading.flags) == (UsageSource.UNMETERED, "gpt-realtime", ("frames-not-recorded",))


def test_a_socket_on_which_nothing_was_said_used_nothing() -> None:
    _, reading, _ = read(entry({"method": "GET", "url": REALTIME}, {"status": 101}, _webSocketMessages=[]))
    assert reading.source is UsageSource.NONE


def test_a_socket_that_was_refused_used_nothing() -> None:
    answer = {"status": 401, "content": {"text": '{"error":{"type":"invalid_api_key"}}'}}
    _, reading, _ = read(entry({"method": "GET", "url": REALTIME.replace("https:", "wss:")}, answer))
    assert (reading.source, reading.error) == (UsageSource.NONE, "invalid_api_key")


ODD = st.sampled_from(
    [None, True, -1, 10**30, "x", "", [], {}, [[]], {"a": [None]}, "http://[", "9999-12-31T23:59:59-23:59", 101]
)
KEYS = {
    (): ("request", "response", "startedDateTime", "_webSocketMessages"),
    ("request",): ("method", "url", "headers", "postData"),
    ("request", "postData"): ("mimeType", "text", "encoding", "params"),
    ("response",): ("status", "headers", "content", "_error"),
    ("response", "content"): ("mimeType", "text", "encoding"),
}
SPOTS = [(*path, key) for path, keys in KEYS.items() for key in keys]


@given(st.dictionaries(st.sampled_from(SPOTS), ODD, max_size=6))
def test_no_entry_raises(changes: dict[tuple[str, ...], Any]) -> None:
    made = entry({"postData": {"mimeType": "multipart/form-data", "params": [{"name": "model", "value": "m"}]}})
    for (*path, key), value in changes.items():
        inner = made
        for name in path:
            inner = inner[name] if isinstance(inner.get(name), dict) else {}
        inner[key] = copy.deepcopy(value)
    (item,) = read_all(har(made))
    if isinstance(item, Exchange):
        assert read_exchange(item, "openai")[2].source in UsageSource
        assert isinstance(began_at(item), int | None)
