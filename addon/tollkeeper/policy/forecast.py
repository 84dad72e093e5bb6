"""Where a budget is heading: what the window will come to at its present pace, and when it crosses its amount."""

from dataclasses import dataclass
from fractions import Fraction

from tollkeeper.core.clock import US_PER_SECOND
from tollkeeper.core.decision import Standing

LEAST_SHARE = Fraction(1, 50)
"""Of a window must have passed before its pace says anything: half an hour of a day, fifteen hours of a month."""
LEAST_US = 600 * US_PER_SECOND


@dataclass(frozen=True, slots=True)
class Forecast:
    """``projected`` is what will be used by the end (in the budget's unit), None while it is too early to say.

    ``crosses_at`` is when the amount is reached at this pace, None when it is not; a moment past for one that is over.
    """

    projected: int | None
    crosses_at: int | None

    def is_over(self, standing: Standing) -> bool:
        """Whether the budget is or will be used up."""
        return self.crosses_at is not None or standing.spent_nanousd >= standing.amount_nanousd


def forecast(standing: Standing, start_at: int, at: int) -> Forecast:
    """The forecast for a budget whose window began at ``start_at``, seen from ``at`` (UTC microseconds).

    Only what is spent makes the pace: holds are mostly released. Windows without an end are not projected.
    """
    end_at = standing.resets_at
    if standing.spent_nanousd >= standing.amount_nanousd:
        return Forecast(standing.spent_nanousd, at)
    if end_at is None or not start_at < at < end_at:
        return Forecast(None, None)
    passed, length = at - start_at, end_at - start_at
    if passed < LEAST_US or Fraction(passed, length) < LEAST_SHARE:
        return Forecast(None, None)
    projected = standing.spent_nanousd * length // passed
    if projected <= standing.amount_nanousd or standing.spent_nanousd == 0:
        return Forecast(projected, None)
    return Forecast(projected, start_at + standing.amount_nanousd * passed // standing.spent_nanousd)
