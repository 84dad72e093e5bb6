"""What happened, for trying a policy on it: every call of a time as it was asked and what it came to, oldest first."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.core.usage import Usage

from .columns import ENTRY, TOKENS
from .schema import read_as_newest
from .store import open_reader, translate

_COLUMNS = ", ".join(f"e.{name}" for name in ENTRY)
_QUERY = (
    f"SELECT {_COLUMNS},"  # noqa: S608 — fixed names
    " (SELECT h.hold_nanousd FROM entry AS h WHERE h.call_id = e.call_id AND h.kind = 'hold' AND h.revision = 0) AS held,"
    " (SELECT coalesce(sum(a.exposure_nanousd), 0) FROM entry AS a INDEXED BY entry_adjust WHERE a.call_id = e.call_id"
    " AND a.kind = 'adjust') AS later"
    " FROM main.entry AS e WHERE e.kind IN ('settle', 'void', 'refuse') AND e.counted_at >= ? AND e.counted_at < ?"
    " ORDER BY e.counted_at, e.seq"
)
_OLD_QUERY = _QUERY.replace("main.entry AS e", "entry AS e").replace("entry AS a INDEXED BY entry_adjust", "entry AS a")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One call of the past: as asked, what was held for it, what it came to (``exposure_nanousd``), and when it was over."""

    call: Call
    hold_nanousd: int
    exposure_nanousd: int
    kind: str
    verdict: str
    model: str
    ended_at: int
    usages: tuple[Usage, ...] = ()


def read_history(path: Path, since: int, until: int) -> Iterator[Past]:
    """The calls counted from ``since`` to before ``until`` (UTC microseconds), one at a time. Raises ``LedgerError``."""
    connection = open_reader(path)
    try:
        read_as_newest(connection)
        is_old = connection.execute("SELECT 1 FROM temp.sqlite_schema WHERE name = 'entry'").fetchone() is not None
        for row in connection.execute(_OLD_QUERY if is_old else _QUERY, (since, until)):
            entry = dict(zip((*ENTRY, "held", "later"), row, strict=True))
            yield _past(entry, _usages(connection, entry["seq"]))
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()


def count_history(path: Path, since: int, until: int) -> int:
    """About how many calls ``read_history`` gives: their entries by the index of time. Raises ``LedgerError``."""
    connection = open_reader(path)
    try:
        found: int = connection.execute(
            "SELECT count(*) FROM entry WHERE counted_at >= ? AND counted_at < ? AND kind IN ('settle', 'void', 'refuse')",
            (since, until),
        ).fetchone()[0]
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()
    return found


def read_answers(path: Path, since: int, last: int = 5_000) -> list[tuple[str, str, str, int]]:
    """Model, principal, client and output tokens of the last whole answers from ``since`` on, oldest first: what a proxy has learned.

    An answer that filled its cap wanted more, and counts double, as in ``policy.estimate``. Raises ``LedgerError``.
    """
    connection = open_reader(path)
    try:
        read_as_newest(connection)
        rows = connection.execute(
            "SELECT model, subject, client, (SELECT coalesce(sum(output_tokens), 0) FROM line WHERE entry_seq = seq) AS output,"
            " (SELECT json_extract(nullif(h.actions, ''), '$.max_output_tokens') FROM entry AS h"
            " WHERE h.call_id = entry.call_id AND h.kind = 'hold' AND h.revision = 0) AS cap"
            " FROM entry WHERE seq > (SELECT coalesce(max(seq), 0) FROM entry) - ? AND at >= ? AND kind = 'settle' AND outcome = 'ok'"
            " AND usage_source = 'reported' AND output > 0 ORDER BY seq",
            (4 * last, since),
        ).fetchall()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        connection.close()
    return [
        (model, subject, client, cap * 2 if cap is not None and output >= cap else output)
        for model, subject, client, output, cap in rows[-last:]
    ]


def call_of(entry: dict[str, Any]) -> Call:
    """The call that an entry is of, as far as it is kept."""
    groups = frozenset(group for group in entry["groups"].split(",") if group)
    tags = json.loads(entry["tags"] or "{}")
    reason = entry["unmetered"]
    return Call(
        id=entry["call_id"],
        started_at=entry["started_at"],
        endpoint=Endpoint(
            provider=entry["provider"],
            host=entry["host"],
            path="",
            operation=entry["operation"],
            metering=Metering.UNMETERED if reason else Metering.METERED,
            dialect=None if reason else "any",
            reason=reason,
        ),
        ask=Ask(model=entry["model_requested"] or None, streamed=bool(entry["streamed"])),
        principal=Principal(
            subject=entry["subject"],
            issuer=entry["issuer"],
            channel=entry["channel"],
            assurance=Assurance(entry["assurance"]),
            groups=groups,
        ),
        attribution=Attribution(
            project=entry["project"],
            client=entry["client"],
            session=entry["session"],
            branch=entry["branch"],
            run=entry["run"],
            agent=entry["agent"],
            agent_class=entry["agent_class"],
            os_user=entry["os_user"],
            process=entry["process"],
            container=entry["container"],
            client_session=entry["client_session"],
            tags=tuple(sorted((str(name), str(value)) for name, value in tags.items())),
        ),
        plan=entry["plan"],
    )


def _past(entry: dict[str, Any], usages: tuple[Usage, ...]) -> Past:
    exposure = max(0, entry["exposure_nanousd"] + entry["later"])
    return Past(
        call=call_of(entry),
        hold_nanousd=entry["held"] if entry["held"] is not None else max(entry["hold_nanousd"], exposure),
        exposure_nanousd=exposure,
        kind=entry["kind"],
        verdict=entry["verdict"],
        model=entry["model"],
        ended_at=entry["started_at"] + took * 1_000 if (took := entry["duration_ms"]) is not None else entry["at"],
        usages=usages,
    )


def _usages(connection: sqlite3.Connection, seq: int) -> tuple[Usage, ...]:
    rows = connection.execute(
        f"SELECT model, units, {', '.join(TOKENS)} FROM line WHERE entry_seq = ? ORDER BY position",  # noqa: S608 — fixed names
        (seq,),
    )
    return tuple(
        Usage(model=model, units=json.loads(units or "{}"), **dict(zip(TOKENS, tokens, strict=True)))
        for model, units, *tokens in rows
    )
