"""``tollkeeper meter``: files in, one JSON object per exchange out."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow, tutils
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from tollkeeper.cli.meter import command
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
