"""``tollkeeper meter``: past traffic through the very code that meters live traffic."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from tollkeeper.core.call import Ask, Call
from tollkeeper.core.charge import Bill
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.paths import home
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.wire.archives import ArchiveError, began_at, read_archive
from tollkeeper.wire.exchange import Exchange, exchange_prompt, exchange_turns, read_exchange
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
        for done, item in enumerate(_items(files), start=1):
            tell(done, 0)
            if isinstance(item, ArchiveError):
                failed = True
                click.echo(f"tollkeeper: {item.id}: {item.message}", err=True)
                if not item.is_file:
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
        from tollkeeper.pricing.account import account

        provider = self.hosts.provider_of(exchange.host) or exchange.provider or f"unknown:{exchange.host[:100]}"
        endpoint, ask, reading = read_exchange(exchange, provider)
        fields = [(name.encode(), value.encode("utf-8", "replace")) for name, value in exchange.request_headers.items()]
        plan = plan_of(endpoint, fields)
        call = Call(id=exchange.id, started_at=_when(exchange), endpoint=endpoint, ask=ask, plan=plan)
        turns = exchange_turns(endpoint, exchange)
        reading, bill = account(self.book, call, reading, turns, lambda: exchange_prompt(endpoint, exchange))
        return {
            "id": exchange.id,
            "provider": endpoint.provider,
            "operation": endpoint.operation,
            "model": reading.model or call.model,
            "streamed": _streamed(exchange, ask),
            "usage_source": reading.source.value,
            "calls": [_usage(usage) for usage in reading.calls],
            **_costs(bill, reading),
            "error": reading.error,
            "flags": list(dict.fromkeys((*reading.flags, *bill.flags, *(flag for line in bill.lines for flag in line.flags)))),
        }


def _costs(bill: Bill, reading: Reading) -> Record:
    unknown = reading.source is UsageSource.UNMETERED or "unmetered" in bill.flags
    return {
        "list_cost_nanousd": None if unknown else bill.list_cost_nanousd,
        "cost_nanousd": None if unknown else bill.cost_nanousd,
        "exposure_nanousd": bill.exposure_nanousd,
        "cost_source": None if unknown else bill.source.value,
    }


def _items(files: Iterable[Path]) -> Iterator[Exchange | ArchiveError]:
    """What all files hold, in order; of one that holds nothing a word goes to stderr."""
    for path in files:
        item = None
        for item in _archive(path):
            yield item
        if item is None:
            click.echo(f"tollkeeper: {path.name}: holds no HTTP exchange", err=True)


def _archive(path: Path) -> Iterator[Exchange | ArchiveError]:
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as stream:
            yield from read_archive(stream, path.name, _flows)
    except OSError as error:
        yield ArchiveError(path.name, f"cannot be opened ({error.strerror})", is_file=True)


def _flows(stream: BinaryIO, name: str) -> Iterator[Exchange | ArchiveError]:
    from tollkeeper.proxy.flowfile import read_flows

    yield from read_flows(stream, name)


def _when(exchange: Exchange) -> int:
    at = began_at(exchange)
    return system_clock() if at is None else at


def _streamed(exchange: Exchange, ask: Ask) -> bool:
    """Whether the answer came as a stream: errors to a streamed question do not."""
    kind = exchange.response_headers.get("content-type", "").lower()
    return any(mark in kind for mark in _STREAM_TYPES) or exchange.is_socket or (ask.streamed and exchange.status < 400)


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
