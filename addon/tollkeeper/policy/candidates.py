"""The ways to serve one call with one model: as asked, with its answer capped at what such calls take, cut to what is left.

Sizes of holds: docs/budgets.md. A cap on the answer is the only hard bound there is, since providers hold to it and it covers hidden
thinking; so whatever holds less than the worst case caps the answer at what it holds for.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from tollkeeper.core.admission import Candidate, Shrink
from tollkeeper.core.amounts import Unit
from tollkeeper.core.call import Ask, Call, Metering
from tollkeeper.core.decision import Target
from tollkeeper.core.value import dataclass
from tollkeeper.pricing.holds import BYTES_PER_TOKEN, DEFAULT_OUTPUT_TOKENS, OVERHEAD_TOKENS

from .model import HoldSize, Ladder
from .rules import effort_rank

HEADROOM: Final = 4
"""A worst case is held while this many fit, else an estimate: so 256 concurrent callers spend 99.6 % and never pass (measured)."""
UNLEARNED_OUTPUT_TOKENS: Final = 4_096
"""What an answer is taken to need before any has been seen."""
LEAST_OUTPUT_TOKENS: Final = 256
"""An answer is never capped below this by an estimate."""
MEDIA_TOKENS: Final = 1_600
"""Of a picture or a page, for budgets in tokens: about what a full-size image takes at Anthropic."""
ANSWERING: Final = frozenset({"chat", "text_completion", "generate_content"})
"""Operations whose answer is text that a cap can bound."""
_ABOVE, _BELOW = BYTES_PER_TOKEN.as_integer_ratio()


class Quote(Protocol):
    """The most a call may cost with one model, as the price book sees it before the call leaves."""

    @property
    def worst_nanousd(self) -> int:
        """What to hold; at the ceiling rate when the model is not ``known``."""

    @property
    def known(self) -> bool:
        """Whether the model has a price."""


type Quoter = Callable[[str | None], Quote]
type CappedQuoter = Callable[[str | None, int], Quote]
"""The quote for a model when the answer is capped at so many tokens."""
type Warm = Callable[[int], int]
"""About what the call costs as asked (nano-dollars) when its conversation is in the prompt cache, by how many tokens it answers."""
type Expected = Callable[[str | None], int | None]
"""How many tokens such calls usually answer, by model; None when not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """What may be written into a request, and how it is priced. Without ``capped`` no answer can be capped.

    Without ``warm`` a conversation under way is priced as if nothing of it were in a prompt cache.
    """

    quote: Quoter
    capped: CappedQuoter | None = None
    expected: Expected | None = None
    elsewhere: Callable[[Target], Quote] | None = None
    rewritable: bool = True
    hold: HoldSize = HoldSize.ESTIMATE
    warm: Warm | None = None

    def may_cap(self, call: Call) -> bool:
        """Whether the answer of this call can be capped: the body is ours to change, and is answered in text."""
        endpoint = call.endpoint
        return (
            self.capped is not None
            and self.rewritable
            and endpoint.metering is Metering.METERED
            and endpoint.dialect is not None
            and endpoint.operation in ANSWERING
            and not call.ask.parts
        )

    def priced(self, model: str | None, target: Target | None, cap: int | None) -> Quote:
        """The quote for a way to serve the call."""
        if target is not None and target.is_elsewhere and self.elsewhere is not None:
            return self.elsewhere(target)
        return self.quote(model) if cap is None or self.capped is None else self.capped(model, cap)


def loses_by_moving(call: Call, pen: Pen, model: str | None, target: Target) -> bool:
    """Whether a conversation under way is likely to cost more elsewhere: there all of it is read anew, here it lies in the cache."""
    if call.ask.fresh or pen.warm is None:
        return False
    learned = pen.expected(call.model) if pen.expected is not None else None
    usual = output_bound(call.ask, UNLEARNED_OUTPUT_TOKENS if learned is None else learned)
    return pen.priced(model, target, usual).worst_nanousd >= pen.warm(usual)


def output_bound(ask: Ask, cap: int | None) -> int:
    """The most output tokens that the request lets one answer have."""
    asked = ask.max_output_tokens if ask.max_output_tokens and ask.max_output_tokens > 0 else DEFAULT_OUTPUT_TOKENS
    return asked if cap is None else min(asked, cap)


def ways(call: Call, first: Candidate, pen: Pen, ladders: tuple[Ladder, ...], *, worst_nanousd: int) -> tuple[Candidate, ...]:
    """``first`` (the worst case of one model) and its smaller forms, largest first; ``ladders`` are those of its budgets that act.

    Only dollars and tokens grow with the answer, so without an acting budget in either there is nothing to cut for.
    """
    acting = {limit.unit for limit in first.limits if limit.enforced}
    target = first.target
    for_dollars, for_tokens = Unit.USD in acting and worst_nanousd > 0, Unit.TOKENS in acting
    if not (for_dollars or for_tokens) or not pen.may_cap(call) or (target is not None and target.is_elsewhere):
        return (first,)
    bound = output_bound(call.ask, first.clamp_output_tokens)
    found = [first]
    if pen.hold is HoldSize.ESTIMATE:
        learned = pen.expected(first.model) if pen.expected is not None else None
        usual = max(LEAST_OUTPUT_TOKENS, UNLEARNED_OUTPUT_TOKENS if learned is None else learned)
        if usual < bound:
            smaller = min(worst_nanousd, pen.priced(first.model, target, usual).worst_nanousd)
            if for_tokens or smaller < worst_nanousd:
                found[0] = _form(first, HEADROOM, first.hold_nanousd, first.hold_tokens, first.clamp_output_tokens)
                found.append(_form(first, first.headroom, smaller, hold_tokens(call, usual), usual))
                bound, worst_nanousd = usual, smaller
    cutting = [ladder for ladder in ladders if ladder.clamp]
    if cutting:
        least = max(ladder.least_output_tokens for ladder in cutting)
        if least < bound:
            lowest = min(worst_nanousd, pen.priced(first.model, target, least).worst_nanousd)
            if for_tokens or lowest < worst_nanousd:
                efforts = [word for word in (first.effort, *(ladder.effort for ladder in cutting)) if word]
                effort = min(efforts, key=effort_rank, default=None)
                shrink = Shrink(least_tokens=least, least_nanousd=lowest, most_tokens=bound, choices=max(1, call.ask.choices))
                found.append(
                    replace(
                        found[-1], headroom=1, shrink=shrink, clamp_output_tokens=bound, effort=effort, hold_nanousd=worst_nanousd
                    )
                )
    return tuple(found)


def _form(first: Candidate, headroom: int, hold_nanousd: int, tokens: int, cap: int | None) -> Candidate:
    """``first`` with another size: ``dataclasses.replace`` takes three times as long, and every call under a budget gets two."""
    return Candidate(
        model=first.model,
        hold_nanousd=hold_nanousd,
        limits=first.limits,
        hold_tokens=tokens,
        requests=first.requests,
        headroom=headroom,
        shrink=first.shrink,
        target=first.target,
        clamp_output_tokens=cap,
        effort=first.effort,
        fallbacks=first.fallbacks,
        rule=first.rule,
        reason=first.reason,
    )


def hold_tokens(call: Call, output_tokens: int) -> int:
    """The most tokens a call may take, in and out, for budgets in tokens."""
    total = 0
    for ask in call.ask.parts or (call.ask,):
        text = -(-max(0, ask.input_bytes) * _BELOW // _ABOVE)
        one = text + OVERHEAD_TOKENS + max(0, ask.media_parts) * MEDIA_TOKENS
        out = min(output_tokens, output_bound(ask, None)) if call.ask.parts else output_tokens
        total += (one + out * max(1, ask.choices)) * max(1, ask.requests)
    return min(total, 2**53)


def requests_of(call: Call) -> int:
    """How many requests a call stands for: one, or those of a batch."""
    return min(sum(max(1, part.requests) for part in call.ask.parts) or 1, 10**9)
