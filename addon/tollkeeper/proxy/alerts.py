"""An addon that tells people what the ledger noted for them: after the commit, tried again until it is told, once."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

from tollkeeper.core.admission import Limit
from tollkeeper.core.errors import ConfigError, LedgerError
from tollkeeper.ledger import alerts as noted
from tollkeeper.ledger.alerts import Alert
from tollkeeper.ledger.balances import callers, standings
from tollkeeper.ledger.history import call_of
from tollkeeper.policy.alerting import AlertRule, Reason, alert_as_json
from tollkeeper.policy.buckets import COLUMNS
from tollkeeper.policy.forecast import forecast
from tollkeeper.policy.matching import matcher_of
from tollkeeper.policy.windows import window_at

from .alert_send import send
from .safety import note_fault
from .stages import Stages

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""How soon after the commit somebody is told."""
AHEAD_SECONDS: Final = 300.0
"""How often projections and sessions are looked at."""
RECENT_US: Final = 3_600_000_000
MAX_DUE: Final = 100
"""Alerts told at one look; the others at the next."""


class Alerts:
    """The addon. Without ``[alert.…]`` in the policy it does nothing."""

    name = "tollkeeper-alerts"

    def __init__(self, stages: Stages, *, look_seconds: float = LOOK_SECONDS, ahead_seconds: float = AHEAD_SECONDS) -> None:
        self.stages, self.look_seconds, self.ahead_seconds = stages, look_seconds, ahead_seconds
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def done(self) -> None:
        """Stop. What is not told yet is told after the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        ahead_at = loop.time() + min(self.ahead_seconds, 30.0)
        while True:
            await asyncio.sleep(self.look_seconds)
            rules = self.stages.policy.alerts
            if not rules:
                continue
            try:
                if loop.time() >= ahead_at:
                    ahead_at = loop.time() + self.ahead_seconds
                    await asyncio.to_thread(look_ahead, self.stages)
                await asyncio.to_thread(tell, self.stages, rules)
            except LedgerError as error:
                logger.warning("alerts: %s", error)
            except Exception as error:
                note_fault(self.stages.counters, "alerts", error)  # the next look is another try


def tell(stages: Stages, rules: tuple[AlertRule, ...]) -> int:
    """Send what is due; how many were sent. Raises ``LedgerError``."""
    sent = 0
    for _ in range(MAX_DUE):
        due = stages.ledger.do(noted.claim)
        if not due:
            break
        sent += sum(_tell(stages, rules, alert) for alert in due)
    return sent


def _tell(stages: Stages, rules: tuple[AlertRule, ...], alert: Alert) -> int:
    wanted = tuple(rule.name for rule in rules if rule.wants(alert.kind, str(alert.facts.get("budget", ""))))
    payload = alert_as_json(alert.id, alert.kind, alert.percent, alert.at, alert.facts, stages.clock())
    told: list[str] = []
    waiting = [rule for rule in rules if rule.name in wanted and rule.name not in alert.sent_to]
    for rule in waiting:
        try:
            send(rule, payload)
        except (OSError, ConfigError) as error:
            logger.warning("alert %s could not be told (try %s): %s", rule.name, alert.tries + 1, error)
        else:
            told.append(rule.name)
        if rule is not waiting[-1]:
            stages.ledger.do(partial(noted.go_on, alert, tuple(told)))
    stages.ledger.do(partial(noted.finish, alert, tuple(told), wanted))
    return len(told)


def look_ahead(stages: Stages) -> int:
    """Note which budgets head over their amounts, and which sessions cost unusually much; how many were found."""
    at = stages.clock()
    wanted = {reason for rule in stages.policy.alerts for reason in rule.on}
    found: list[Alert] = []
    if Reason.PROJECTION in wanted:
        found += _projections(stages, at)
    if Reason.ANOMALY in wanted:
        found += noted.anomalies(stages.ledger.path, at, RECENT_US)
    if found:
        stages.ledger.do(partial(noted.put_all, found))
    return len(found)


def _projections(stages: Stages, at: int) -> Iterator[Alert]:
    limits = list(_limits(stages, at))
    for limit, standing in zip(limits, standings(stages.ledger.path, limits, at), strict=True):
        ahead = forecast(standing, limit.bucket.start_at, at)
        if ahead.crosses_at is not None and ahead.crosses_at > at:
            yield noted.of_budget(limit, standing, noted.PROJECTION, 100, at, crosses_at=ahead.crosses_at)


def _limits(stages: Stages, at: int) -> Iterator[Limit]:
    """The budgets with an end, in every share that calls counted in."""
    policy = stages.policy
    matcher = matcher_of(policy)
    names = {"group": ("groups",), "any_session": ("session", "client_session")}
    used = {COLUMNS[name] for name in matcher.used.fields} | ({"tags"} if matcher.used.labels != frozenset() else set())
    columns = [column for name in sorted(used) for column in names.get(name, (name,))]
    earliest = min((window_at(budget.window, at).start_at for budget in policy.budgets), default=at)
    seen: set[tuple[str, str]] = set()
    for entry in callers(stages.ledger.path, earliest, columns):
        call = call_of(entry)
        for limit in matcher.of(call, call.model).limits(at):
            place = (limit.budget, limit.bucket.key)
            if limit.resets_at is not None and not limit.rule and place not in seen:
                seen.add(place)
                yield limit
