"""Recorded traffic against an independent reading of what it billed: the comparison behind ``scripts/recordings`` and its test."""

import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tollkeeper.core.call import Metering
from tollkeeper.core.usage import Reading, Usage, UsageSource
from tollkeeper.gate.hosts import HostTable
from tollkeeper.wire.archives import read_archive
from tollkeeper.wire.exchange import Exchange, read_exchange

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDINGS = REPOSITORY.parent / "shared" / "recordings" / "exchanges.jsonl.gz"
EXCEPTIONS = REPOSITORY / "docs" / "wire-exceptions.md"

type Counts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """One exchange: how it was read, and what the recording says was billed."""

    exchange: Exchange
    provider: str
    framing: str
    metering: Metering
    reading: Reading
    theirs: tuple[Counts, ...]
    ours: tuple[Counts, ...]

    @property
    def is_equal(self) -> bool:
        """Every kind that the recording names has our count."""
        return len(self.theirs) == len(self.ours) and all(
            {key: mine.get(key) for key in their} == their for mine, their in zip(self.ours, self.theirs, strict=True)
        )


def kinds(usage: Usage) -> Counts:
    """Our counts by the recordings' names."""
    units = usage.units

    def both(kind: str) -> int:
        return units.get(f"{kind}_input_tokens", 0) + units.get(f"{kind}_cache_read_tokens", 0)

    return {
        "input": usage.input_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_5m_tokens,
        "cache_write_1h": usage.cache_write_1h_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
        "audio_input": both("audio"),
        "image_input": both("image"),
        "audio_output": units.get("audio_output_tokens", 0),
        "image_output": units.get("image_output_tokens", 0),
        "search_units": units.get("search_units", 0),
        "images": units.get("images", 0) + units.get("input_images", 0),
        "seconds": units.get("audio_input_seconds", 0),
    }


def explained() -> frozenset[str]:
    """The exchanges of which the documentation says why the recording's own reading is wrong."""
    if not EXCEPTIONS.exists():
        return frozenset()
    return frozenset(re.findall(r"^\| `([0-9a-f]{16})` \|", EXCEPTIONS.read_text(encoding="utf-8"), re.MULTILINE))


def compare(path: Path = RECORDINGS) -> list[Compared]:
    """Every exchange of a file of recordings that states what was billed."""
    stated: dict[str, tuple[str, list[Counts]]] = {}
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            whole = json.loads(line)
            stated[whole["id"]] = (whole.get("framing") or "none", whole.get("billed") or [])
    hosts = HostTable.load()
    found = []
    with path.open("rb") as packed:
        for exchange in read_archive(packed, path.name):
            if not isinstance(exchange, Exchange):
                raise TypeError(f"{exchange.id}: {exchange.message}")
            provider = hosts.provider_of(exchange.host) or exchange.provider or f"unknown:{exchange.host}"
            endpoint, _, reading = read_exchange(exchange, provider)
            framing, billed = stated[exchange.id]
            theirs = tuple({key: value for key, value in call.items() if key != "model"} for call in billed)
            reported = reading.calls if reading.source is UsageSource.REPORTED else ()
            ours = tuple(map(kinds, reported))
            found.append(Compared(exchange, endpoint.provider, framing, endpoint.metering, reading, theirs, ours))
    return found


def table(compared: list[Compared]) -> str:
    """Provider × framing × (equal, explained, wrong), as Markdown."""
    known = explained()
    tally: dict[tuple[str, str], Counter[str]] = {}
    for one in compared:
        verdict = "equal" if one.is_equal else "explained" if one.exchange.id in known else "wrong"
        tally.setdefault((one.provider, one.framing), Counter())[verdict] += 1
    rows = ["| Provider | Framing | Equal | Explained | Wrong |", "|---|---|---:|---:|---:|"]
    for (provider, framing), counts in sorted(tally.items()):
        rows.append(f"| {provider} | {framing} | {counts['equal']} | {counts['explained']} | {counts['wrong']} |")
    whole = sum(tally.values(), Counter())
    rows.append(f"| all | | {whole['equal']} | {whole['explained']} | {whole['wrong']} |")
    return "\n".join(rows)
