"""Every recorded exchange of the four dialects gives exactly the kinds that its independent reading says were billed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.core.call import Metering
from tollkeeper.core.usage import Usage, UsageSource
from tollkeeper.wire.archives import read_archive
from tollkeeper.wire.exchange import Exchange, read_exchange

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "exchanges.jsonl.gz"

EXPLAINED: dict[str, str] = {}
"""Exchange id → why the file's own reading is the wrong one (docs/wire.md, "Recorded traffic"). None is known."""

KINDS = {
    "input": "input_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}


def kinds(usage: Usage) -> dict[str, int]:
    """Our counts by the recordings' names."""
    units = usage.units
    return {
        **{theirs: getattr(usage, ours) for theirs, ours in KINDS.items()},
        "audio_input": units.get("audio_input_tokens", 0) + units.get("audio_cache_read_tokens", 0),
        "image_input": units.get("image_input_tokens", 0) + units.get("image_cache_read_tokens", 0),
        "audio_output": units.get("audio_output_tokens", 0),
        "image_output": units.get("image_output_tokens", 0),
    }


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not here")
def test_every_recorded_exchange_equals_what_was_billed() -> None:
    import gzip
    import json

    billed: dict[str, Any] = {}
    with gzip.open(RECORDINGS) as stream:
        for line in stream:
            whole = json.loads(line)
            billed[whole["id"]] = whole["billed"] or []
    wrong: list[str] = []
    tally: Counter[str] = Counter()
    with RECORDINGS.open("rb") as packed:
        for exchange in read_archive(packed, "recordings"):
            assert isinstance(exchange, Exchange), exchange
            endpoint, _, reading = read_exchange(exchange, exchange.provider or "")
            if endpoint.metering is not Metering.METERED or exchange.id in EXPLAINED:
                continue
            theirs = [{key: value for key, value in call.items() if key != "model"} for call in billed[exchange.id]]
            reported = reading.calls if reading.source is UsageSource.REPORTED else ()
            ours = [{key: kinds(call).get(key) for key in other} for call, other in zip(reported, theirs, strict=False)]
            tally[endpoint.dialect or ""] += 1
            if ours != theirs or len(reported) != len(theirs):
                wrong.append(f"{exchange.id} {exchange.provider} {ours} {theirs}")
    assert not wrong
    assert sum(tally.values()) > 3000
