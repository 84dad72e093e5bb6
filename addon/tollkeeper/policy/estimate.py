"""What answers usually take, learned from those seen: the size of a hold when a budget is nearly used up (docs/budgets.md).

By model, principal and client; where too few were seen, by model and client, then by model alone.
"""

from collections import OrderedDict, deque

from tollkeeper.core.entry import Outcome, Settlement
from tollkeeper.core.usage import UsageSource

KEPT = 64
"""Answers remembered for each kind of call: of 64 the 61st is the 95th percentile."""
ENOUGH = 12
"""Answers that must have been seen before they say anything: the largest of 12 is passed by one in 13."""
MAX_KINDS = 4_096
MARGIN = 5, 4
"""A quarter more than the 95th percentile, so that an answer is cut in about one of fifty calls."""
STEP_TOKENS = 256

type Kind = tuple[str, str, str]


class Estimates:
    """Learns from settlements; asked before each call. Used from one thread; a copy in another process learns by itself."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Kind, deque[int]] = OrderedDict()
        self._known: dict[Kind, int] = {}

    def learn(self, settlement: Settlement) -> None:
        """Take in what a finished answer took. What was cut, failed or only counted says nothing of whole answers."""
        reading, decision = settlement.reading, settlement.decision
        if settlement.outcome is not Outcome.OK or reading.source is not UsageSource.REPORTED or not reading.complete:
            return
        tokens = sum(usage.output_tokens for usage in reading.calls)
        cap = decision.clamp_output_tokens
        if tokens <= 0 or not reading.calls:
            return
        if cap is not None and tokens >= cap:  # it wanted more than it was given: nobody knows how much
            tokens = cap * 2
        call = settlement.call
        self.note(decision.model or call.model or "", call.principal.subject, call.attribution.client, tokens)

    def note(self, model: str, principal: str, client: str, output_tokens: int) -> None:
        """Take in one answer."""
        for kind in _kinds(model, principal, client):
            seen = self._seen.get(kind)
            if seen is None:
                if len(self._seen) >= MAX_KINDS:
                    forgotten, _ = self._seen.popitem(last=False)
                    self._known.pop(forgotten, None)
                seen = self._seen[kind] = deque(maxlen=KEPT)
            else:
                self._seen.move_to_end(kind)
            seen.append(output_tokens)
            self._known.pop(kind, None)

    def output_tokens(self, model: str | None, principal: str, client: str) -> int | None:
        """What an answer usually takes, with a margin, in steps of 256; None when too few were seen."""
        for kind in _kinds(model or "", principal, client):
            known = self._known.get(kind)
            if known is not None:
                return known
            seen = self._seen.get(kind)
            if seen is not None and len(seen) >= ENOUGH:
                ordered = sorted(seen)
                usual = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)] * MARGIN[0] // MARGIN[1]
                self._known[kind] = found = -(-usual // STEP_TOKENS) * STEP_TOKENS
                return found
        return None


def _kinds(model: str, principal: str, client: str) -> tuple[Kind, Kind, Kind]:
    return ((model, principal, client), (model, "", client), (model, "", ""))
