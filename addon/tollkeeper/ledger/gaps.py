"""What a report must say of itself: calls of unknown cost, calls nobody could meter, calls that never came back."""

import json

from .grouping import BILLED, COST, EXPOSURE, MODEL
from .reach import ODD, Reach
from .rows import Gap


def span(reach: Reach) -> tuple[int | None, int | None]:
    """When the first and the last call in reach were: two steps along the index."""
    sql = (
        "SELECT counted_at FROM entry WHERE kind IN ('settle', 'void', 'refuse') AND counted_at >= :since AND counted_at < :until"  # noqa: S608
        f"{reach.where} ORDER BY counted_at "
    )
    first = reach.connection.execute(f"{sql} ASC LIMIT 1", reach.values).fetchone()
    last = reach.connection.execute(f"{sql} DESC LIMIT 1", reach.values).fetchone()
    return (first[0], last[0]) if first and last else (None, None)


def unpriced_gaps(reach: Reach) -> tuple[Gap, ...]:
    """Calls of unknown cost by the lines to blame; calls nobody could read have no lines and are named by their model."""
    odd = reach.sql(odd_only=True)
    calls = f"SELECT * FROM ({odd}) WHERE {BILLED} AND {COST} IS NULL AND unmetered = '' AND outcome <> 'crashed'"  # noqa: S608
    rows = reach.connection.execute(
        "SELECT coalesce(line.provider, e.provider), coalesce(line.model, "  # noqa: S608 — fixed text
        "nullif(e.model_billed, ''), nullif(e.model, ''), e.model_requested), coalesce(line.unpriced, ''),"
        " count(DISTINCT seq), sum(coalesce(line.exposure_nanousd, e.exposure_nanousd)), min(counted_at), max(counted_at)"
        f" FROM ({calls}) AS e LEFT JOIN line ON entry_seq = seq AND line.cost_nanousd IS NULL GROUP BY 1, 2, 3",
        reach.values,
    )
    gaps: dict[tuple[str, str], Gap] = {}
    for provider, model, units, count, exposure, first_at, last_at in rows:
        old = gaps.get((provider, model))
        named = tuple(json.loads(units)) if units else ()
        gaps[provider, model] = Gap(
            provider=provider,
            model=model,
            calls=count + (old.calls if old else 0),
            exposure_nanousd=exposure + (old.exposure_nanousd if old else 0),
            first_at=min(first_at, old.first_at) if old else first_at,
            last_at=max(last_at, old.last_at) if old else last_at,
            units=tuple(dict.fromkeys((*(old.units if old else ()), *named))),
        )
    return tuple(sorted(gaps.values(), key=lambda gap: (-gap.exposure_nanousd, -gap.calls, gap.provider, gap.model)))


def unmetered_gaps(reach: Reach) -> tuple[Gap, ...]:
    """Calls that nobody could meter, by provider, model, host, operation and reason."""
    names = ("provider", "model", "host", "operation", "reason", "calls", "exposure_nanousd", "first_at", "last_at")
    rows = reach.connection.execute(
        f"SELECT provider, {MODEL}, host, operation, unmetered, count(*), sum({EXPOSURE}), min(counted_at), max(counted_at)"  # noqa: S608
        f" FROM ({reach.sql(odd_only=True)}) WHERE {BILLED} AND usage_source = 'unmetered' AND outcome <> 'crashed'"
        " GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 1, 3, 4",
        reach.values,
    )
    return tuple(Gap(**dict(zip(names, row, strict=True))) for row in rows)


def expired(reach: Reach) -> int:
    """Holds that ran out and whose call never came back: nothing is known of their cost."""
    among = ODD if reach.rolled else " AND counted_at >= :since AND counted_at < :until"
    count: int = reach.connection.execute(
        f"SELECT count(*) FROM entry AS e WHERE kind = 'expire'{among}{reach.where}"  # noqa: S608 — fixed text
        " AND NOT EXISTS (SELECT 1 FROM entry AS s WHERE s.call_id = e.call_id AND s.kind IN ('settle', 'void'))",
        reach.values,
    ).fetchone()[0]
    return count
