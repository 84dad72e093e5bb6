"""``tollkeeper meter``: past traffic through the very code that meters live traffic."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tollkeeper.core.call import Ask, Call
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.paths import home
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.wire.archives import ArchiveError, answered_at, archive_kind, read_archive
from tollkeeper.wire.exchange import Exchange, exchange_prompt, read_exchange
from tollkeeper.wire.plans import plan_of

from .progress import progress

if TYPE_CHECKING:
    from tollkeeper.gate.hosts import HostTable
    from tollkeeper.pricing.book import PriceBook

_STREAM_TYPES = ("event-stream", "eventstream", "ndjson", "stream+json", "jsonl")

type Record = dict[str, Any]


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(allow_dash=True, path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Read recorded traffic and print what each exchange used and cost.

    FILE is a HAR 1.2, a mitmproxy flow file, or JSON lines, gzipped or not; `-` is standard input. One JSON object per exchange
    goes to stdout, in order. Ends with 1 when a file or a record could not be read; the rest is printed all the same.
    """
    from tollkeeper.gate.extra_hosts import host_table
    from tollkeeper.pricing.book import PriceBook

    overlay = home().prices
    desk = _Desk(host_table(home().hosts), PriceBook.load(overlay if overlay.exists() else None))
    failed = False
    with progress("metering", beside_output=True) as tell:
        for done, (path, item) in enumerate(((file, item) for file in files for item in _exchanges(file)), start=1):
            tell(done, 0)
            if isinstance(item, ArchiveError):
                failed = True
                click.echo(f"tollkeeper: {item.id}: {item.message}", err=True)
                if item.id != path.name:  # a record in the file, not the file itself
                    _print(_unreadable(item.id, item.message))
                continue
            _print(desk.account(item))
    if failed:
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What turns an exchange into a line."""

    hosts: "HostTable"
    book: "PriceBook"

    def account(self, exchange: Exchange) -> Record:
        """The line of one exchange; a fault in it becomes a line that says so."""
        try:
            return self._account(exchange)
        except TollkeeperError as error:
            return _unreadable(exchange.id, str(error))
        except Exception as error:  # one bad exchange never stops the rest
            return _unreadable(exchange.id, f"fault: {type(error).__name__}")

    def _account(self, exchange: Exchange) -> Record:
        from tollkeeper.pricing.complete import complete

        provider = self.hosts.provider_of(exchange.host) or exchange.provider or f"unknown:{exchange.host[:100]}"
        endpoint, ask, reading = read_exchange(exchange, provider)
        fields = [(name.encode(), value.encode("utf-8", "replace")) for name, value in exchange.request_headers.items()]
        plan = plan_of(endpoint, fields)
        call = Call(id=exchange.id, started_at=_when(exchange), endpoint=endpoint, ask=ask, plan=plan)
        reading = complete(reading, call, lambda: exchange_prompt(endpoint, exchange))
        return {
            "id": exchange.id,
            "provider": endpoint.provider,
            "operation": endpoint.operation,
            "model": reading.model or call.model,
            "streamed": _streamed(exchange, ask),
            "usage_source": reading.source.value,
            "calls": [_usage(usage) for usage in reading.calls],
            **self._costs(call, reading),
            "error": reading.error,
            "flags": list(reading.flags),
        }

    def _costs(self, call: Call, reading: Reading) -> Record:
        bill = self.book.bill(call, reading)
        unknown = reading.source is UsageSource.UNMETERED or "unmetered" in bill.flags
        return {
            "list_cost_nanousd": None if unknown else bill.list_cost_nanousd,
            "cost_nanousd": None if unknown else bill.cost_nanousd,
            "exposure_nanousd": bill.exposure_nanousd,
            "cost_source": None if unknown else bill.source.value,
        }


def _exchanges(path: Path) -> Iterator[Exchange | ArchiveError]:
    with ExitStack() as stack:
        try:
            stream: IO[bytes] = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
        except OSError as error:
            yield ArchiveError(path.name, f"cannot be opened ({error.strerror})")
            return
        if str(path) != "-":
            head = stream.read(4096)
            stream.seek(0)
            kind = archive_kind(head)
            if kind == "flows":
                from tollkeeper.proxy.flowfile import read_flow_file

                yield from read_flow_file(path)
                return
            if kind is None:
                yield ArchiveError(path.name, "is no HAR, no mitmproxy flow file and no JSON lines: nothing in it was read")
                return
        yield from read_archive(stream, path.name)


def _when(exchange: Exchange) -> int:
    at = answered_at(exchange)
    return system_clock() if at is None else at


def _streamed(exchange: Exchange, ask: Ask) -> bool:
    """Whether the answer came as a stream: errors to a streamed question do not."""
    kind = exchange.response_headers.get("content-type", "").lower()
    return (
        any(mark in kind for mark in _STREAM_TYPES) or exchange.method == "WEBSOCKET" or (ask.streamed and exchange.status < 400)
    )


def _usage(usage: Usage) -> Record:
    return {
        "model": usage.model,
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        **usage.units,
    }


def _unreadable(identity: str, message: str) -> Record:
    nothing = dict.fromkeys(("provider", "operation", "model"))
    costs = dict.fromkeys(("list_cost_nanousd", "cost_nanousd", "exposure_nanousd", "cost_source"))
    source = UsageSource.UNMETERED.value
    return {
        "id": identity,
        **nothing,
        "streamed": False,
        "usage_source": source,
        "calls": [],
        **costs,
        "error": message,
        "flags": [],
    }


def _print(record: Record) -> None:
    click.echo(json.dumps(record))
