"""What may be written into a call, and how each way of serving it is priced: the proxy's answers to the policy's questions."""

from dataclasses import replace

from tollkeeper.core.call import Call
from tollkeeper.core.decision import Target
from tollkeeper.core.errors import WireError
from tollkeeper.policy.candidates import Pen, Quote
from tollkeeper.wire.destinations import destination, needs_key
from tollkeeper.wire.dialects import DIALECTS

from .stages import Stages


def pen_for(stages: Stages, call: Call, *, rewritable: bool) -> Pen:
    """The pen for one call. Models that the request names besides are dropped when it is moved, so they are not priced then."""
    book = stages.book
    who, client = call.principal.subject, call.attribution.client

    def quote(model: str | None) -> Quote:
        return book.hold(call, model, alone=model != call.model)

    def capped(model: str | None, cap: int) -> Quote:
        return book.hold(call, model, cap=cap, alone=model != call.model)

    def elsewhere(target: Target) -> Quote:
        return _elsewhere(stages, call, target)

    return Pen(
        quote=quote,
        capped=capped if call.endpoint.dialect in DIALECTS else None,
        expected=lambda model: stages.estimates.output_tokens(model, who, client),
        elsewhere=elsewhere,
        rewritable=rewritable,
        hold=stages.policy.hold,
        warm=lambda output_tokens: book.warm_nanousd(call, output_tokens),
    )


class Unreachable:
    """The quote for a place that a call cannot be sent to: without a price, so that the policy passes it over."""

    worst_nanousd = 0
    known = False


def _elsewhere(stages: Stages, call: Call, target: Target) -> Quote:
    model = target.model or call.model or ""
    if needs_key(call.endpoint, target.provider, target.host) and not target.key:
        return Unreachable()
    try:
        to = destination(call.endpoint, call.endpoint.path, model, target.provider, target.host)
    except WireError:
        return Unreachable()
    return stages.book.hold(replace(call, endpoint=replace(to.endpoint, model_in_path=None)), model, alone=True)
