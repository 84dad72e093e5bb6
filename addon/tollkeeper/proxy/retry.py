"""When a call is tried a second time, and how: the fallbacks of its route, or the request as the client wrote it.

Each try is a call of its own in the ledger, held and settled by itself, so that nothing is paid twice in silence.
"""

from dataclasses import replace

from tollkeeper.core.decision import Decision, Target, Verdict
from tollkeeper.core.entry import Outcome
from tollkeeper.core.ids import new_id
from tollkeeper.policy.model import OnRewriteError
from tollkeeper.policy.plan import plan_target, plan_with

from .passage import Passage
from .quill import pen_for
from .road import Road

FAILED = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Answers after which a route's fallback is tried: too busy, broken, or not there."""
TRIED_ELSEWHERE = "tried-elsewhere"
"""Flag of a call that failed and was then sent to a fallback."""
REWRITE_REFUSED = "rewrite-refused"
"""Flag of a rewritten call that the provider answered with 400, and that was then sent as it was."""
RESENT = "resent-as-asked"


def may_be_tried_again(road: Road, passage: Passage) -> bool:
    """Whether anything would be done should this call fail."""
    if passage.refusal is not None or passage.settled or not passage.held:
        return False
    return bool(passage.decision.fallbacks[passage.tried :]) or _resends(road, passage)


async def try_again(road: Road, passage: Passage, status: int | None) -> Passage | None:
    """The passage of the next try, or None when there is none; the first is settled then. ``status`` None: there was no answer."""
    fallbacks = passage.decision.fallbacks[passage.tried :]
    if (status is None or status in FAILED) and fallbacks:
        return await _to_fallback(road, passage, status, fallbacks)
    if status == 400 and _resends(road, passage):
        return await _as_asked(road, passage)
    return None


def _resends(road: Road, passage: Passage) -> bool:
    policy = road.stages.policy
    return passage.decision.verdict is Verdict.REWRITE and policy.on_rewrite_error is OnRewriteError.RESEND and not passage.tried


async def _to_fallback(road: Road, passage: Passage, status: int | None, fallbacks: tuple[Target, ...]) -> Passage | None:
    for number, target in enumerate(fallbacks, passage.tried + 1):
        at = road.stages.clock()
        again = _anew(passage, at)
        again.tried = number
        pen = pen_for(road.stages, again.call, rewritable=not passage.is_bound)
        admission = plan_target(road.stages.policy, again.call, pen, at, target)
        if admission is None:
            continue
        decision = await road.hold(admission)
        if decision.verdict is Verdict.REFUSE:
            continue
        again.decision = replace(decision, fallbacks=passage.decision.fallbacks)
        again.held = True
        if await road.write(again) is None:
            await _end(road, passage, status, TRIED_ELSEWHERE)
            return again
        await road.settle(again, Outcome.ABORTED, cut=True, sent=False)
    return None


async def _as_asked(road: Road, passage: Passage) -> Passage | None:
    at = road.stages.clock()
    again = _anew(passage, at)
    planned = plan_with(road.stages.policy, again.call, pen_for(road.stages, again.call, rewritable=False), at)
    if isinstance(planned, Decision):
        return None
    # Its own money is still held: released first, it is part of the room that the request as asked needs.
    await _end(road, passage, 400, REWRITE_REFUSED)
    decision = await road.hold(planned)
    if decision.verdict is Verdict.REFUSE:
        return None
    again.decision, again.held, again.tried = decision, True, 1
    again.notes = (RESENT,)
    await road.write(again)
    return again


def _anew(passage: Passage, at: int) -> Passage:
    call = replace(passage.call, id=new_id(at), started_at=at)
    return Passage(
        call=call,
        body=passage.body,
        path=passage.asked_path,
        asked_path=passage.asked_path,
        fields=passage.fields,
        is_bound=passage.is_bound,
    )


async def _end(road: Road, passage: Passage, status: int | None, flag: str) -> None:
    """Settle a try that failed. One that was never answered may be billed for what went in, and is counted so."""
    passage.status = status
    passage.notes = (*passage.notes, flag)
    await road.settle(passage, Outcome.ERROR if status else Outcome.CUT, cut=True, sent=status is None)
