"""``tollkeeper meter``: files in, one JSON object per exchange out."""

import gzip
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mitmproxy.flow import Flow
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow, tutils
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from tollkeeper.cli.meter import command
from tollkeeper.core.paths import home
from wire.samples import CHAT_STREAM, JSON, MESSAGE_START, PLAIN_CHAT_STREAM, TEXT_DELTA, sse
from wire.test_archives import ENTRY, har, lines, record


def run(*arguments: str, stdin: bytes = b"") -> tuple[Result, list[dict[str, Any]]]:
    result = CliRunner().invoke(command, list(arguments), input=stdin)
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def encoded(body: bytes) -> str:
    import base64

    return base64.b64encode(body).decode()


def test_each_exchange_is_one_priced_object_in_order(tmp_path: Path) -> None:
    error = record(
        id="bad key", status=401, response_headers={}, response_body=encoded(b'{"error":{"type":"authentication_error"}}')
    )
    blind = record(id="training", url="https://api.openai.com/v1/fine_tuning/jobs")
    file = tmp_path / "traffic.jsonl.gz"
    file.write_bytes(gzip.compress(lines(record(), error, blind)))
    result, (first, second, third) = run(str(file))
    assert result.exit_code == 0
    assert list(first) == [
        "id", "provider", "operation", "model", "streamed", "usage_source", "calls",
        "list_cost_nanousd", "cost_nanousd", "exposure_nanousd", "cost_source", "error", "flags",
    ]  # fmt: skip
    assert first["calls"] == [
        {
            "model": "gpt-4o-mini-2024-07-18",
            "input_tokens": 60,
            "cache_read_tokens": 40,
            "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0,
            "output_tokens": 20,
            "reasoning_tokens": 8,
        }
    ]
    # gpt-4o-mini: $0.15 / 0.075 / 0.60 per million
    assert (first["cost_nanousd"], first["cost_source"], first["streamed"]) == (60 * 150 + 40 * 75 + 20 * 600, "computed", True)
    assert (second["usage_source"], second["error"], second["cost_nanousd"]) == ("none", "authentication_error", 0)
    assert (third["usage_source"], third["cost_nanousd"]) == ("unmetered", None)


def test_what_nobody_reported_is_counted_and_priced(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    cut = record(
        id="cut",
        provider=None,
        url="https://api.anthropic.com/v1/messages",
        response_body=encoded(sse(MESSAGE_START, TEXT_DELTA)),
    )
    file.write_bytes(lines(record(response_body=encoded(PLAIN_CHAT_STREAM)), cut))
    _, (counted, partial) = run(str(file))
    assert (counted["usage_source"], counted["cost_source"]) == ("counted", "estimated")
    assert counted["calls"][0]["output_tokens"] > 0
    assert (partial["usage_source"], partial["calls"][0]["input_tokens"]) == ("partial", 2068)
    assert partial["cost_nanousd"] > 0


def test_bad_records_and_files_are_told_and_the_rest_is_printed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.har", tmp_path / "bad.bin"
    good.write_bytes(har(ENTRY, 7, ENTRY))
    bad.write_bytes(b"\x00\x01")
    result, found = run(str(bad), str(tmp_path / "absent"), str(good))
    assert result.exit_code == 1
    assert [item["usage_source"] for item in found] == ["reported", "unmetered", "reported"]
    assert found[1]["error"]
    assert all(name in result.stderr for name in ("bad.bin", "absent", "good.har#2"))


def test_standard_input_is_read() -> None:
    result, (first,) = run("-", stdin=lines(record()))
    assert (result.exit_code, first["usage_source"]) == (0, "reported")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", ["lines", "har", "flows"])
def test_a_pipe_is_read_as_a_file_is_and_so_is_what_comes_after_it(tmp_path: Path, kind: str, pack: Any) -> None:
    data = {"lines": lambda: lines(record()), "har": lambda: har(ENTRY), "flows": lambda: flow_file(chat_flow())}[kind]()
    pipe, after = tmp_path / "pipe", tmp_path / "after.jsonl"
    os.mkfifo(pipe)
    after.write_bytes(lines(record(id="after")))
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit(pipe.write_bytes, pack(data))
        result, found = run(str(pipe), str(after))
        written.result()
    assert (result.exit_code, [item["usage_source"] for item in found]) == (0, ["reported", "reported"])
    assert found[1]["id"] == "after"
    result, (first,) = run("-", stdin=pack(data))
    assert (result.exit_code, first["usage_source"]) == (0, "reported")


@pytest.mark.parametrize("nothing", [b"", b"\n", har(), gzip.compress(b"", mtime=0)], ids=["empty", "blank", "har", "gzip"])
def test_a_file_of_nothing_is_no_failure(tmp_path: Path, nothing: bytes) -> None:
    file = tmp_path / "empty"
    file.write_bytes(nothing)
    result, found = run(str(file))
    assert (result.exit_code, result.stdout, found) == (0, "", [])
    assert "empty: holds no HTTP exchange" in result.stderr


def test_the_price_is_that_of_the_moment_the_request_began() -> None:
    home().make()
    home().prices.write_text(
        "schema = 1\n"
        + "".join(
            f'[[price]]\nprovider = "openai"\nname = "m"\nmatch = {{ equals = "m" }}\n{when}\ninput_mtok = "{usd}"\noutput_mtok = "0"\n'
            for when, usd in (("to = 2026-11-19", 1), ("from = 2026-11-20", 2))
        )
    )
    answer = json.dumps(
        {"model": "m", "choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_000}}
    )
    entry = {
        **ENTRY,
        "startedDateTime": "2026-11-19T23:59:50Z",
        "response": {
            "status": 200,
            "headers": [{"name": "date", "value": "Fri, 20 Nov 2026 00:00:05 GMT"}],
            "content": {"mimeType": "application/json", "text": answer},
        },
    }
    flow = chat_flow(answer=answer.encode())
    flow.response.headers["date"] = "Fri, 20 Nov 2026 00:00:05 GMT"
    flow.request.timestamp_start = datetime(2026, 11, 19, 23, 59, 50, tzinfo=UTC).timestamp()
    late = record(
        response_body=encoded(answer.encode()), response_headers={"date": "Fri, 20 Nov 2026 00:00:05 GMT"}, chunk_lengths=[]
    )
    costs = [run("-", stdin=data)[1][0]["cost_nanousd"] for data in (har(entry), flow_file(flow), lines(late))]
    assert costs == [1_000_000, 1_000_000, 2_000_000]  # JSON lines say nothing of the start: the answer's date stands in for it


def test_what_the_bill_has_to_say_is_among_the_flags() -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_000}
    dear = json.dumps({"model": "openai/gpt-4o-mini", "choices": [], "usage": {**usage, "cost": 0.5}}).encode()
    odd = json.dumps({"model": "gpt-4o-mini", "choices": [], "service_tier": "never-heard-of", "usage": usage}).encode()
    changes: dict[str, Any] = {"response_headers": JSON, "chunk_lengths": []}
    _, (first, second) = run(
        "-",
        stdin=lines(
            record(url="https://openrouter.ai/api/v1/chat/completions", response_body=encoded(dear), **changes),
            record(response_body=encoded(odd), **changes),
        ),
    )
    assert (first["cost_source"], first["flags"]) == ("provider", ["cost-differs"])  # of the bill
    assert (second["cost_source"], second["flags"]) == ("computed", ["term-unpriced:service_tier"])  # of its line


def test_a_bad_record_by_the_name_of_its_file_is_printed_too(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(lines(record(id="x.jsonl", url=None)))
    result, found = run(str(file))
    assert (result.exit_code, [item["id"] for item in found]) == (1, ["x.jsonl"])


def test_a_folder_is_told_and_the_rest_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "good.jsonl"
    file.write_bytes(lines(record()))
    result, found = run(str(tmp_path), str(file))
    assert (result.exit_code, len(found)) == (1, 1)
    assert "directory" in result.stderr


def flow_file(*flows: Flow) -> bytes:
    stream = io.BytesIO()
    writer = FlowWriter(stream)
    for flow in flows:
        writer.add(flow)
    return stream.getvalue()


def chat_flow(
    host: str = "api.openai.com", named: str = "", sni: str | None = None, answer: bytes | None = CHAT_STREAM
) -> HTTPFlow:
    """A chat that was connected to ``host``, with ``named`` in its ``Host`` header."""
    request = tutils.treq(
        host=host,
        port=443,
        scheme=b"https",
        method=b"POST",
        path=b"/v1/chat/completions",
        authority=b"",
        content=b'{"model":"m"}',
    )
    request.headers["host"] = named or host
    flow = tflow.tflow(req=request, resp=tutils.tresp(content=answer))
    assert flow.response is not None
    flow.response.headers["content-type"] = "text/event-stream" if answer == CHAT_STREAM else "application/json"
    flow.client_conn.sni = sni
    return flow


@pytest.mark.parametrize(
    ("host", "named", "sni", "provider"),
    [
        ("192.0.2.7", "api.openai.com", None, "openai"),
        ("192.0.2.7", "api.openai.com:443", None, "openai"),
        ("192.0.2.7", "192.0.2.7", "api.openai.com", "openai"),
        ("2001:db8::7", "[2001:db8::7]:443", "api.openai.com", "openai"),
        ("192.0.2.7", "192.0.2.7", None, "unknown:192.0.2.7"),
        ("llm.example", "api.openai.com", "api.openai.com", "unknown:llm.example"),
    ],
)
def test_a_flow_recorded_by_address_is_that_of_the_name_that_was_called(
    host: str, named: str, sni: str | None, provider: str
) -> None:
    _, (first,) = run("-", stdin=flow_file(chat_flow(host, named, sni)))
    assert (first["provider"], first["usage_source"]) == (provider, "reported")


def test_an_answer_that_mitmproxy_streamed_past_is_partial() -> None:
    _, (first,) = run("-", stdin=flow_file(chat_flow(answer=None)))
    assert first["usage_source"] == "partial"


def test_a_socket_of_which_a_flow_holds_the_upgrade_only_is_unmetered() -> None:
    flow = chat_flow()
    flow.request.method, flow.request.path = "GET", "/v1/realtime?model=gpt-realtime"
    assert flow.response is not None
    flow.response.status_code = 101
    flow.response.content = b""
    _, (first,) = run("-", stdin=flow_file(flow))
    assert (first["usage_source"], first["cost_nanousd"]) == ("unmetered", None)


def test_a_flow_file_is_read(tmp_path: Path) -> None:
    flow = tflow.tflow(
        req=tutils.treq(
            host="api.openai.com",
            port=443,
            scheme=b"https",
            method=b"POST",
            path=b"/v1/chat/completions",
            content=b'{"model":"m"}',
        ),
        resp=tutils.tresp(content=CHAT_STREAM),
    )
    flow.response.headers["content-type"] = "text/event-stream"
    other = tflow.ttcpflow()
    file = tmp_path / "flows.mitm"
    with file.open("wb") as stream:
        writer = FlowWriter(stream)
        writer.add(other)
        writer.add(flow)
    result, (first,) = run(str(file))
    assert (result.exit_code, first["usage_source"], first["model"]) == (0, "reported", "gpt-4o-mini-2024-07-18")
    file.write_bytes(file.read_bytes()[:-50])
    result, found = run(str(file))
    assert (result.exit_code, found[-1]["usage_source"]) == (1, "unmetered")


def test_the_frames_of_a_socket_in_a_flow_file_are_read(tmp_path: Path) -> None:
    flow = tflow.twebsocketflow()
    flow.request = tutils.treq(
        host="api.openai.com", port=443, scheme=b"https", method=b"GET", path=b"/v1/responses", content=b""
    )
    assert flow.websocket is not None
    asked = {"type": "response.create", "model": "gpt-5-mini", "input": "hi"}
    usage = {"input_tokens": 50, "output_tokens": 30, "total_tokens": 80}
    said = {"type": "response.completed", "response": {"id": "r", "status": "completed", "model": "gpt-5-mini", "usage": usage}}
    flow.websocket.messages = [
        WebSocketMessage(Opcode.TEXT, from_client, json.dumps(frame).encode())
        for from_client, frame in ((True, asked), (False, said))
    ]
    file = tmp_path / "flows.mitm"
    with file.open("wb") as stream:
        FlowWriter(stream).add(flow)
    result, (first,) = run(str(file))
    assert (result.exit_code, first["usage_source"]) == (0, "reported")
    assert [(call["model"], call["input_tokens"], call["output_tokens"]) for call in first["calls"]] == [("gpt-5-mini", 50, 30)]


@pytest.mark.parametrize(
    ("url", "hint", "provider"),
    [
        ("http://localhost:9/v1/chat/completions", "groq", "groq"),
        ("https://api.openai.com/v1/chat/completions", "groq", "openai"),
        ("https://llm.example/v1/chat/completions", None, "unknown:llm.example"),
    ],
)
def test_the_provider_is_the_hosts_then_the_recorders_then_unknown(url: str, hint: str | None, provider: str) -> None:
    _, (first,) = run("-", stdin=lines(record(url=url, provider=hint)))
    assert first["provider"] == provider


def test_no_text_of_a_conversation_is_printed() -> None:
    body = encoded(json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "tell-nobody"}]}).encode())
    answer = encoded(json.dumps({"error": {"message": "tell-nobody", "type": "invalid_request_error"}}).encode())
    result, _ = run(
        "-",
        stdin=lines(
            record(request_body=body), record(request_body=body, status=400, response_headers=JSON, response_body=answer)
        ),
    )
    assert "tell-nobody" not in result.output
