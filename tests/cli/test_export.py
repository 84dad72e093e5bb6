"""``tollkeeper export``: every call once, nothing without an address, metrics on loopback."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Tool
from tollkeeper.cli import export
from tollkeeper.cli.export import metrics_server


class Collector(HTTPServer):
    """A collector that keeps what it is sent, after failing ``failures`` times."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.failures: list[int] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = collector.failures.pop(0) if collector.failures else 200
                if status == 200:
                    collector.got.append((self.path, json.loads(body), dict(self.headers)))
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for path, document, _ in self.got
            if path == "/v1/traces"
            for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_call_is_sent_once(tool: Tool, path: Path, collector: Collector) -> None:
    assert tool("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))[0] == 0
    assert len(collector.spans()) == 7
    assert tool("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))[0] == 0
    assert len(collector.spans()) == 7
    assert [name for name, _, _ in collector.got] == ["/v1/traces", "/v1/metrics", "/v1/metrics"]


def test_calls_can_be_sent_again_from_a_moment_on(tool: Tool, path: Path, collector: Collector) -> None:
    arguments = ("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))
    tool(*arguments)
    tool(*arguments, "--since", "2026-11-23T00:00+00:00")
    assert len(collector.spans()) == 7 + 5
    assert len({span["spanId"] for span in collector.spans()}) == 7


def test_what_may_be_tried_again_is_and_the_rest_is_not(
    tool: Tool, path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.time, "sleep", lambda _: None)
    collector.failures = [503, 429]
    assert tool("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))[0] == 0
    assert len(collector.spans()) == 7
    collector.failures = [400]
    code, _, err = tool("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))
    assert code == 3
    assert "HTTP 400" in err


def test_what_failed_is_sent_the_next_time(tool: Tool, path: Path, collector: Collector) -> None:
    collector.failures = [400]
    assert tool("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))[0] == 3
    assert tool("export", "otlp", "--endpoint", collector.url, "--ledger", str(path))[0] == 0
    assert len(collector.spans()) == 7


def test_headers_and_names_are_those_every_exporter_reads(
    tool: Tool, path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=laptop")
    assert tool("export", "otlp", "--ledger", str(path), "--header", "x-key=k")[0] == 0
    _, document, sent = collector.got[0]
    headers = {name.lower(): value for name, value in sent.items()}
    assert (headers["x-team"], headers["x-key"]) == ("a b", "k")
    attributes = document["resourceSpans"][0]["resource"]["attributes"]
    assert {"key": "deployment.environment.name", "value": {"stringValue": "laptop"}} in attributes


def test_nothing_is_sent_without_an_address(tool: Tool, path: Path) -> None:
    code, _, err = tool("export", "otlp", "--ledger", str(path))
    assert code == 2
    assert "--endpoint" in err
    code, out, _ = tool("export", "otlp", "--ledger", str(path), "--dry-run")
    assert code == 0
    assert [next(iter(json.loads(line))) for line in out.splitlines()] == ["resourceSpans", "resourceMetrics"]


def test_prometheus_reads_the_sums_and_nothing_else(path: Path) -> None:
    server = metrics_server(path, ("model",), 2, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{server.server_address[1]}/metrics") as answer:
            text = answer.read().decode()
            assert answer.headers["content-type"].startswith("application/openmetrics-text")
        with pytest.raises(urllib.error.HTTPError):
            opener.open(f"http://127.0.0.1:{server.server_address[1]}/other")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert text.endswith("# EOF\n")
    assert 'model="other"' in text


def test_metrics_stay_on_this_machine_unless_told(tool: Tool, path: Path) -> None:
    code, _, err = tool("export", "prometheus", "--host", "0.0.0.0", "--ledger", str(path))
    assert code == 2
    assert "--public" in err
    code, out, _ = tool("export", "prometheus", "--once", "--ledger", str(path))
    assert code == 0
    assert out.endswith("# EOF\n")
