"""``tollkeeper export``: to OpenTelemetry over HTTP, and to Prometheus. Nothing is sent unless an address is given."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from http.client import BadStatusLine, HTTPException, InvalidURL
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import ConfigError, SetupError, TollkeeperError
from tollkeeper.core.paths import home
from tollkeeper.gate.access import is_loopback

from .progress import progress
from .report import groupings

BATCH = 500
TRIES = 4
TIMEOUT_S = 20.0
MAX_WAIT_S = 300.0
"""Between two rounds of ``--follow`` while the collector is away."""
RETRIED = frozenset({429, 502, 503, 504})
"""https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes."""
_ledger = click.option("--ledger", "ledger_path", type=click.Path(path_type=Path), help="The ledger to read.  [this user's]")


@click.group()
def command() -> None:
    """Send calls and sums to OpenTelemetry, or offer sums to Prometheus. Names, counts and prices only: nothing else is recorded."""


@command.command()
@click.option("--endpoint", metavar="URL", help="Collector, like http://127.0.0.1:4318.  [$OTEL_EXPORTER_OTLP_ENDPOINT]")
@click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="Sent along.  [$OTEL_EXPORTER_OTLP_HEADERS]")
@click.option("--since", metavar="TIME", help="Send again from there.  [what was not sent yet]")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--every", default=10.0, show_default=True, help="Seconds between two rounds of --follow.")
@click.option("--by", multiple=True, metavar="NAME[,NAME]", help="Attributes of the metrics.  [provider,operation,model]")
@click.option("--dry-run", is_flag=True, help="Print the requests as JSON lines, send nothing.")
@_ledger
def otlp(
    endpoint: str | None,
    headers: tuple[str, ...],
    since: str | None,
    follow: bool,
    every: float,
    by: tuple[str, ...],
    dry_run: bool,
    ledger_path: Path | None,
) -> None:
    """Spans and metrics with GenAI names, over OTLP/HTTP with JSON. Every call is sent once; how far is remembered per endpoint.

    With --follow a collector that is away is tried again, at longer and longer intervals up to five minutes.
    """
    path = ledger_path or home().ledger
    address = (endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")).rstrip("/")
    if not dry_run and not _is_address(address):
        raise ConfigError("where to? --endpoint http://127.0.0.1:4318, or set OTEL_EXPORTER_OTLP_ENDPOINT")
    sender = Sender(address, _headers(headers), dry_run=dry_run)
    cursor = Cursor(path, address, keep=not dry_run)
    if since is not None:
        cursor.seq = _seq_before(path, since)
    names = groupings(by or ("provider,operation,model",))
    try:
        if follow:
            _follow(lambda: _round(path, sender, cursor, names), max(1.0, every))
        click.echo(f"{_round(path, sender, cursor, names):,} calls sent", err=True)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="Port; 0 takes a free one.")
@click.option("--by", multiple=True, metavar="NAME[,NAME]", help="Labels.  [provider,model,principal]")
@click.option(
    "--top", type=click.IntRange(1, 1000), default=50, show_default=True, help="Values of a label; the rest are `other`."
)
@click.option("--public", is_flag=True, help="Allow a --host beyond this machine: whoever reaches it reads names and sums.")
@click.option("--once", is_flag=True, help="Print the metrics and end: for node_exporter's text files.")
@_ledger
def prometheus(host: str, port: int, by: tuple[str, ...], top: int, public: bool, once: bool, ledger_path: Path | None) -> None:
    """Serve /metrics in the OpenMetrics format. Counters run from the first call of the ledger on."""
    path = ledger_path or home().ledger
    names = groupings(by or ("provider,model,principal",))
    if once:
        click.echo(_exposition(path, names, top), nl=False)
        return
    if not is_loopback(host) and not public:
        raise ConfigError(f"{host} can be reached from elsewhere: add --public if names and sums may be read there")
    server = metrics_server(path, names, top, host, port)
    named = f"[{host}]" if ":" in host else host
    click.echo(f"tollkeeper: metrics on http://{named}:{server.server_address[1]}/metrics", err=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        server.server_close()


class Cursor:
    """Up to which entry an endpoint has been told."""

    def __init__(self, ledger: Path, address: str, *, keep: bool) -> None:
        digest = sha256(f"{ledger.absolute()} {address}".encode()).hexdigest()[:12]
        self._file = home().root / f"export-{digest}.json"
        self._keep = keep
        self.seq = 0
        try:
            self.seq = int(json.loads(self._file.read_text())["seq"])
        except (OSError, ValueError, KeyError, TypeError):
            self.seq = 0

    def advance(self, seq: int) -> None:
        """Remember it."""
        self.seq = seq
        if self._keep:
            home().make()
            scratch = self._file.with_suffix(".new")
            scratch.write_text(json.dumps({"seq": seq}))
            scratch.replace(self._file)


class Away(SetupError):
    """The collector was not there, or said that it may be asked again."""


class Sender:
    """Posts JSON to a collector; tries again what the protocol says may be tried again."""

    def __init__(self, address: str, headers: dict[str, str], *, dry_run: bool) -> None:
        self._address, self._headers, self._dry_run = address, headers, dry_run

    def post(self, signal: str, document: dict[str, Any]) -> None:
        """Send to ``/v1/<signal>``. Raises ``SetupError`` when it is not taken, ``Away`` when it may be taken later."""
        if self._dry_run:
            click.echo(json.dumps(document, ensure_ascii=False))
            return
        url = f"{self._address}/v1/{signal}"
        body = json.dumps(document, ensure_ascii=False).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json", **self._headers}, method="POST")  # noqa: S310 — http(s) only
        problem = ""
        for attempt in range(1, TRIES + 1):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 — as above
                    answer.read(65_536)
                    return
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code}"
                if error.code not in RETRIED:
                    raise SetupError(f"{url} did not take it: {problem}") from None
            except (ValueError, InvalidURL):  # their words would show the header
                raise SetupError(f"{url} was not asked: the address or a --header has a character that cannot be sent") from None
            except OSError as error:
                problem = str(getattr(error, "reason", error))[:200]
            except BadStatusLine:
                raise SetupError(
                    f"{url} does not answer in HTTP/1.1: is that the port for gRPC? OTLP over HTTP has one of its own, mostly 4318"
                ) from None
            except HTTPException as error:
                problem = type(error).__name__
            if attempt < TRIES:
                time.sleep(0.5 * 2**attempt)
        raise Away(f"{url} did not take it: {problem}")


def metrics_server(path: Path, by: tuple[str, ...], top: int, host: str, port: int) -> ThreadingHTTPServer:
    """A server of ``/metrics``, not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            from tollkeeper.report.openmetrics import CONTENT_TYPE

            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "only /metrics is here")
                return
            try:
                text, status = _exposition(path, by, top), 200
            except TollkeeperError as error:
                text, status = f"# {error}\n# EOF\n", 503
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Scrapes are not worth a line."""

    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in host else AF_INET

    try:
        return Server((host, port), Handler)
    except OSError as error:
        raise SetupError(f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port") from error


def _exposition(path: Path, by: tuple[str, ...], top: int) -> str:
    from tollkeeper.ledger.queries import report
    from tollkeeper.policy.document import load_policy
    from tollkeeper.report.openmetrics import report_openmetrics
    from tollkeeper.report.overview import budget_lines

    policy = load_policy(home().policy) if home().policy.exists() else None
    return report_openmetrics(report(path, by=by), budget_lines(path, policy, system_clock()), top)


def _round(path: Path, sender: Sender, cursor: Cursor, by: tuple[str, ...]) -> int:
    """Everything that is new, then the sums; gives how many calls."""
    from tollkeeper.ledger.queries import report, tail
    from tollkeeper.report.otlp import metrics, traces

    sent = 0
    with progress("sending calls") as tell:
        while rows := tail(path, after_seq=cursor.seq):
            for start in range(0, len(rows), BATCH):
                batch = rows[start : start + BATCH]
                sender.post("traces", traces(batch, _resource()))
                cursor.advance(batch[-1].seq)
                sent += len(batch)
                tell(sent, 0)
    found = report(path, by=by)
    if found.groups:
        sender.post("metrics", metrics(found, _resource(), system_clock()))
    return sent


def _follow(send: Callable[[], int], every_s: float) -> NoReturn:
    """Round after round; what a collector did not take while it was away goes with the first round that it takes."""
    wait_s = every_s
    while True:
        try:
            send()
            if wait_s > every_s:
                click.echo("tollkeeper: the collector is back", err=True)
            wait_s = every_s
        except Away as error:
            wait_s = min(wait_s * 2, MAX_WAIT_S)
            click.echo(f"tollkeeper: {error}; trying again in {wait_s:,.0f} s", err=True)
        time.sleep(wait_s)


def _is_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _seq_before(path: Path, since: str) -> int:
    from tollkeeper.ledger.queries import seq_before
    from tollkeeper.report.period import parse_moment, zone_of

    from .zones import local_zone_name

    return seq_before(path, parse_moment(since, system_clock(), zone_of(local_zone_name())))


def _resource() -> dict[str, str]:
    """``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``, as every exporter reads them."""
    found = _pairs(os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    if name := os.environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = name
    return found


def _headers(said: tuple[str, ...]) -> dict[str, str]:
    return {**_pairs(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")), **_pairs(said)}


def _pairs(words: "tuple[str, ...] | list[str]") -> dict[str, str]:
    return {name.strip(): unquote(value.strip()) for name, found, value in (word.partition("=") for word in words) if found}
