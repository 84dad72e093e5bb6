"""Carrying out a decision: what is really sent, where to, and how it is priced afterwards."""

import asyncio
from dataclasses import dataclass, replace

from tollkeeper.core.call import Call
from tollkeeper.core.decision import Decision, Target
from tollkeeper.core.errors import ConfigError
from tollkeeper.pricing.names import clean
from tollkeeper.pricing.shipped import load_families
from tollkeeper.wire.destinations import Destination, destination, needs_key, readdressed
from tollkeeper.wire.repair.rewrite import Change, rewrite

from .vault import key_at

type Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """The request as it leaves. ``fields`` None: the client's own; ``to`` None: where the client sent it.

    ``call`` is the call as it is served: its endpoint and what is asked of it are those that the answer is read and priced by.
    """

    path: str
    body: bytes
    call: Call
    fields: Fields | None = None
    to: Destination | None = None
    notes: tuple[str, ...] = ()


async def carry_out(call: Call, path: str, body: bytes, fields: Fields, decision: Decision) -> Outgoing:
    """The request as ``decision`` wants it. Raises ``WireError`` or ``ConfigError`` when it cannot be made so."""
    target = decision.target
    model = decision.model if decision.model_asked is not None or (target is not None and target.model) else None
    to, key = None, ""
    if target is not None and (target.is_elsewhere or target.key):
        to, key = await _elsewhere(call, path, model or call.model or "", target)
    endpoint = call.endpoint if to is None else to.endpoint
    moved = model is not None and model != call.model
    change = Change(
        model=model if moved or to is not None else None,
        max_output_tokens=decision.clamp_output_tokens,
        effort=decision.effort,
        most_output_tokens=load_families().max_output_tokens(clean(model)) if moved and model else None,
        forgets=decision.keeps_conversation,
        continues=call.ask.fresh,
    )
    if to is not None:
        fields = readdressed(fields, to, key)
        path = to.path
    done = rewrite(endpoint, path, fields, body, change)
    ask = replace(call.ask, model=model or call.ask.model, fallback_models=() if moved else call.ask.fallback_models)
    served = replace(call, ask=ask, endpoint=replace(endpoint, model_in_path=None) if moved else endpoint)
    changed = to is not None or done.fields != tuple(fields)
    return Outgoing(path=done.path, body=done.body, call=served, fields=done.fields if changed else None, to=to, notes=done.notes)


async def _elsewhere(call: Call, path: str, model: str, target: Target) -> tuple[Destination, str]:
    to = destination(call.endpoint, path, model, target.provider, target.host)
    if not target.key:
        if needs_key(call.endpoint, target.provider, target.host):
            raise ConfigError(f'{to.host} needs a key of its own: write key = "env:NAME" beside it in the policy')
        return to, ""
    return to, await asyncio.to_thread(key_at, target.key) if target.key.startswith("keyring:") else key_at(target.key)
