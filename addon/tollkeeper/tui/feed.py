"""From a ledger to snapshots: everything once, then only what is new. Called from threads of the screen; blocks, never writes."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

from tollkeeper.core.clock import Clock, system_clock
from tollkeeper.core.errors import ConfigError, LedgerError, TollkeeperError
from tollkeeper.ledger import queries
from tollkeeper.ledger.live import Follower
from tollkeeper.ledger.rows import CallDetail, CallRow, Group, Report
from tollkeeper.policy.document import OBSERVE_ALL, load_policy
from tollkeeper.policy.model import Policy
from tollkeeper.report.fold import add, fold, of_call
from tollkeeper.report.outlook import BudgetLine, lines_of, with_standing
from tollkeeper.report.period import days_before, parse_moment, zone_of

from .snapshot import PERIODS, SPEND_SLOT_US, SPEND_SLOTS, Proxy, Snapshot

FIRST_CALLS = 120
KEPT_CALLS = 2_000
MAX_DECIDED = 1_000
DIRECT_ENTRIES = 12_000
"""Ranges of fewer entries are summed at once, before the first frame; larger ones by a report, in the background."""
SOON_ENTRIES = 150_000
"""Ranges of fewer entries are summed in a second or two, while the report of a large ledger is still being prepared."""

type AskProxies = Callable[[], tuple[Proxy, ...]]


class Feed:
    """One screen's view of one ledger. Every method may be called from any thread; they take turns."""

    def __init__(
        self,
        path: Path,
        *,
        zone: str = "UTC",
        since: int | None = None,
        policy_path: Path | None = None,
        ask_proxies: AskProxies = tuple,
        clock: Clock = system_clock,
        prices: Path | None = None,
    ) -> None:
        """``since`` (UTC microseconds) makes a period of its own. ``prices`` is the user's overlay, for what rewrites saved.

        Raises ``ConfigError`` for an unknown zone.
        """
        self.path, self.zone, self.clock = path, zone, clock
        self._where = zone_of(zone)
        self._fixed_since, self._policy_path, self._ask_proxies, self._prices = since, policy_path, ask_proxies, prices
        self._turn = threading.Lock()
        self._follower: Follower | None = None
        self._head = 0
        self._shown = Snapshot(at=clock(), zone=zone, period="since" if since is not None else "today")
        self._policy_read: tuple[Path, int, Policy] | None = None
        self._policy_fault = ""
        self.periods = ("since", *PERIODS) if since is not None else PERIODS

    @property
    def shown(self) -> Snapshot:
        """The newest snapshot."""
        return self._shown

    def first(self) -> Snapshot:
        """What a first frame needs, in some ten milliseconds however large the ledger is. What takes longer is None."""
        with self._turn:
            return self._guarded(self._first)

    def poll(self) -> Snapshot | None:
        """What is new since the last snapshot; None while there is no ledger."""
        with self._turn:
            if self._follower is None:
                return self._guarded(self._first) if self.path.exists() else None
            if self._since(self._shown.period) == self._shown.since:
                return self._guarded(self._catch_up)
        return self.load()

    def sums(self) -> Snapshot:
        """The sums of a period that was too long for the first frame and is short enough to be read at once: some seconds at most.

        ``load`` gives them too, but the first time it must read all of a large ledger for that.
        """
        with self._turn:
            shown = self._shown
            if shown.total is not None or self._follower is None:
                return shown
            return self._guarded(lambda: self._summed(self._opened(), shown, SOON_ENTRIES))

    def load(self) -> Snapshot:
        """Everything of the period, gaps included: what ``first`` left out. Meanwhile ``poll`` may go on with what it has."""
        with self._turn:
            if not self.path.exists():
                return self._guarded(self._first)
            asked, since = (self._shown.period, self._shown.dimension), self._since(self._shown.period)
            by = self._shown.by
        try:
            report = queries.report(self.path, by=by, since=since, zone=self.zone)
        except TollkeeperError as error:
            self._shown = replace(self._shown, fault=str(error))
            return self._shown
        with self._turn:
            if asked != (self._shown.period, self._shown.dimension):
                return self._shown
            return self._guarded(lambda: self._with(report))

    def choose(self, *, period: str | None = None, dimension: str | None = None) -> Snapshot:
        """Another period or dimension."""
        with self._turn:
            period, dimension = period or self._shown.period, dimension or self._shown.dimension
            self._shown = replace(
                self._shown, period=period, dimension=dimension, since=self._since(period), total=None, groups=None, decided=None
            )
        return self.load()

    def decide(self) -> Snapshot:
        """The refusals and rewrites of the period, with what they saved."""
        with self._turn:
            return self._guarded(self._decided)

    def detail(self, call_id: str) -> CallDetail | None:
        """Everything of one call. Raises ``LedgerError``."""
        with self._turn:
            return self._opened().detail(call_id)

    def has_news(self) -> bool:
        """Whether ``poll`` has something to do; asked on the screen's own thread, so it never waits."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self._follower is None:
                return self.path.exists()
            broken = self._shown.fault not in {"", self._policy_fault}
            return self._since(self._shown.period) != self._shown.since or self._follower.has_changed() or broken
        except LedgerError:
            return True
        finally:
            self._turn.release()

    def ask(self) -> Snapshot:
        """What the proxies say of themselves now, and the time."""
        proxies = tuple(self._ask_proxies())
        with self._turn:
            return self._guarded(lambda: self._asked(proxies))

    def close(self) -> None:
        """Let go of the ledger."""
        with self._turn:
            if self._follower is not None:
                self._follower.close()
                self._follower = None

    # -- in turn ---------------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], Snapshot]) -> Snapshot:
        """A failure becomes a line on the screen: the last good figures stay."""
        try:
            self._shown = replace(step(), fault=self._policy_fault)
        except TollkeeperError as error:
            self._shown = replace(self._shown, fault=str(error))
        return self._shown

    def _opened(self) -> Follower:
        if self._follower is None:
            self._follower = Follower(self.path)
        return self._follower

    def _asked(self, proxies: tuple[Proxy, ...]) -> Snapshot:
        at, policy, old = self.clock(), self._policy(proxies), self._shown.policy
        shown = replace(self._shown, proxies=proxies, at=at, policy=policy)
        if policy is old or self._follower is None:
            return shown
        return replace(shown, budgets=self._budgets(self._follower, policy, at, derive=True))

    def _first(self) -> Snapshot:
        policy = self._policy(self._shown.proxies or ())
        if not self.path.exists():
            shown = self._shown if self._shown.total is not None else replace(self._shown, total=Group(), groups=(), spend={})
            return replace(shown, policy=policy, at=self.clock())
        follower = self._opened()
        at, since = self.clock(), self._since(self._shown.period)
        self._head = follower.head()
        shown = replace(
            self._shown,
            at=at,
            since=since,
            policy=policy,
            calls=tuple(follower.last_calls(FIRST_CALLS, self._head)),
            open_calls=follower.open_calls(),
            budgets=self._budgets(follower, policy, at, derive=False),
            total=None,
            groups=None,
            plan_windows=follower.plan_windows(),
        )
        return self._summed(follower, shown, DIRECT_ENTRIES)

    def _summed(self, follower: Follower, shown: Snapshot, most: int) -> Snapshot:
        if (found := follower.figures(shown.by, shown.since, self._head, most)) is not None:
            shown = replace(shown, groups=tuple(found[0]), total=found[1])
        return replace(shown, spend=follower.spend(_curve_from(shown.at), SPEND_SLOT_US, self._head, most))

    def _with(self, report: Report) -> Snapshot:
        """The report and what goes with it, up to this moment."""
        follower = self._opened()
        self._head = report.head_seq
        at = self.clock()
        shown = replace(
            self._shown,
            at=at,
            since=report.since,
            policy=self._policy(self._shown.proxies or ()),
            calls=tuple(follower.last_calls(KEPT_CALLS, self._head)),
            total=report.total,
            groups=report.groups,
            spend=follower.spend(_curve_from(at), SPEND_SLOT_US, self._head, 2**31),
            unpriced=report.unpriced,
            unmetered=report.unmetered,
            expired_calls=report.expired_calls,
        )
        shown = self._caught_up(follower, shown)
        return shown if shown.decided is None else self._decided(shown)

    def _catch_up(self) -> Snapshot:
        follower, shown = self._opened(), self._shown
        since = shown.since
        before = self._head
        fresh = self._caught_up(follower, shown)
        rows = [row for row in fresh.calls if row.seq > before and (since is None or row.counted_at >= since)]
        if any(row.usage_source == "unmetered" or row.cost_nanousd is None for row in rows):
            report = queries.report(self.path, by=shown.by, since=since, zone=self.zone)
            fresh = replace(fresh, unpriced=report.unpriced, unmetered=report.unmetered, expired_calls=report.expired_calls)
        decided = any(row.verdict != "allow" or row.would != "allow" for row in rows)
        return self._decided(fresh) if decided and fresh.decided is not None else fresh

    def _caught_up(self, follower: Follower, shown: Snapshot) -> Snapshot:
        """The calls closed since added to everything that counts them, and what is in flight now."""
        rows, head, anew = follower.news(self._head)
        if anew and shown.total is not None:
            return self._with(queries.report(self.path, by=shown.by, since=shown.since, zone=self.zone))
        self._head = head
        at = self.clock()
        counted = [row for row in rows if shown.since is None or row.counted_at >= shown.since]
        return replace(
            shown,
            at=at,
            total=shown.total if shown.total is None else reduce(add, map(of_call, counted), shown.total),
            groups=shown.groups if shown.groups is None or not counted else fold(shown.groups, counted, shown.by),
            calls=(*reversed(rows), *shown.calls)[:KEPT_CALLS],
            open_calls=follower.open_calls(),
            budgets=self._budgets(follower, shown.policy, at, derive=True),
            spend=None if shown.spend is None else _spent(shown.spend, rows),
            plan_windows=follower.plan_windows(),
        )

    def _decided(self, shown: Snapshot | None = None) -> Snapshot:
        shown = shown or self._shown
        if not self.path.exists():
            return replace(shown, decided=())
        rows = tuple(self._opened().decided_calls(shown.since, MAX_DECIDED))
        return replace(shown, decided=rows, saved=self._savings(rows))

    def _savings(self, rows: Iterable[CallRow]) -> dict[str, int]:
        from tollkeeper.report.savings import price_book, saved_nanousd

        saved = dict(self._shown.saved)
        todo = [row for row in rows if row.verdict == "rewrite" and row.call_id not in saved]
        if todo:
            book = price_book(self._prices if self._prices is not None and self._prices.exists() else None)
            saved |= {row.call_id: amount for row in todo if (amount := saved_nanousd(book, row)) is not None}
        return saved

    def _budgets(self, follower: Follower, policy: Policy, at: int, *, derive: bool) -> tuple[BudgetLine, ...]:
        if not policy.budgets:
            return ()
        lines = lines_of(policy, follower.buckets(), at)
        standings = follower.standings([line.limit for line in lines], derive=derive)
        return tuple(with_standing(line, standing, at) for line, standing in zip(lines, standings, strict=True))

    def _policy(self, proxies: Iterable[Proxy]) -> Policy:
        """The policy in force: as named, else that of the first proxy that runs, else the home's, else the built-in one.

        One that cannot be read is a line on the screen, and the last one that could stays.
        """
        named = self._policy_path or next((Path(str(proxy["policy"])) for proxy in proxies if proxy.get("policy")), None)
        path = named or self.path.with_name("policy.toml")
        try:
            stamp = path.stat().st_mtime_ns if named is not None or path.exists() else None
            if stamp is None:
                self._policy_read, self._policy_fault = None, ""
            elif self._policy_read is None or self._policy_read[:2] != (path, stamp):
                self._policy_read, self._policy_fault = (path, stamp, load_policy(path)), ""
        except (OSError, ConfigError) as error:
            self._policy_fault = str(error)
        return OBSERVE_ALL if self._policy_read is None else self._policy_read[2]

    def _since(self, period: str) -> int | None:
        if period == "since":
            return self._fixed_since
        now = self.clock()
        if period == "7d":
            return days_before(6, now, self._where)
        return None if period == "all" else parse_moment(period, now, self._where)


def _curve_from(at: int) -> int:
    return at - at % SPEND_SLOT_US - (SPEND_SLOTS - 1) * SPEND_SLOT_US


def _spent(spend: Mapping[int, int], rows: Iterable[CallRow]) -> dict[int, int]:
    found = dict(spend)
    for row in rows:
        slot = row.counted_at // SPEND_SLOT_US
        found[slot] = found.get(slot, 0) + row.exposure_nanousd
    return found
