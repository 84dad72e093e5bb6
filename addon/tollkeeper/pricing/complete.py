"""Fill in what a provider did not report: a cut stream is charged for what it used."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil

from tollkeeper.core.call import Call
from tollkeeper.core.usage import MAX_COUNT, Reading, Usage, UsageSource

from .holds import NO_TEXT_OUT
from .names import clean
from .shipped import Family, load_families
from .tokens import count_tokens
from .units import PARTS

_TOKENS = frozenset().union(*PARTS.values())


def complete(reading: Reading, call: Call, prompt_text: Callable[[], str] | str) -> Reading:
    """A reading whose missing counts are estimated; any other reading comes back as it is.

    The provider's partial figures are kept (Anthropic's ``message_start`` gives the input exactly); output is the larger of its
    figure and the visible text counted with tiktoken × the family's factor; input is counted from ``prompt_text`` only when the
    provider gave none. Estimated figures are flagged ``estimated-output`` and ``estimated-input``. Reasoning that was never sent
    cannot be seen and is not guessed at. What is billed by the picture, the second or the character has no text to count: where the
    answer said nothing at all, it is taken as asked, flagged ``estimated-units``.

    CPU work of milliseconds to seconds (the first count also builds the tokenizer): call it from a worker thread.
    """
    if reading.source not in {UsageSource.COUNTED, UsageSource.PARTIAL}:
        return reading
    flags = list(reading.flags)
    calls = reading.calls or (_as_asked(call, reading.model, flags),)
    *before, last = calls
    family = load_families().of(clean(last.model or reading.model or call.model))
    last = _with_output(last, reading, family, flags)
    by_units = call.endpoint.operation in NO_TEXT_OUT and any(unit not in _TOKENS for one in calls for unit in one.units)
    if not by_units and not any(one.total_input_tokens for one in calls):
        last = _with_input(last, call, prompt_text, family, flags)
    return replace(reading, calls=(*before, last), flags=tuple(dict.fromkeys(flags)))


def _as_asked(call: Call, model: str | None, flags: list[str]) -> Usage:
    """What the request asked for, where it is billed by units and nothing came back."""
    asked = call.ask.units if call.endpoint.operation in NO_TEXT_OUT else {}
    if not asked:
        return Usage(model=model)
    flags.append("estimated-units")
    return Usage(
        model=model,
        input_tokens=sum(count for unit, count in asked.items() if unit in PARTS["input_tokens"]),
        output_tokens=sum(count for unit, count in asked.items() if unit == "output_tokens" or unit in PARTS["output_tokens"]),
        units={unit: count for unit, count in asked.items() if unit != "output_tokens"},
    )


def _with_output(usage: Usage, reading: Reading, family: Family, flags: list[str]) -> Usage:
    if not reading.visible_output:
        return usage
    scale = Fraction(reading.visible_output_scale if 1 <= reading.visible_output_scale <= MAX_COUNT else 1)
    counted = min(MAX_COUNT, ceil(count_tokens(reading.visible_output) * scale * Fraction(family.central)))
    if counted <= usage.output_tokens:
        return usage
    flags.append("estimated-output")
    return replace(usage, output_tokens=counted)


def _with_input(usage: Usage, call: Call, prompt_text: Callable[[], str] | str, family: Family, flags: list[str]) -> Usage:
    text = prompt_text if isinstance(prompt_text, str) else prompt_text()
    counted = ceil(count_tokens(text) * Fraction(family.central)) + call.ask.media_parts * family.media_guess_tokens
    if not counted:
        return usage
    flags.append("estimated-input")
    return replace(usage, input_tokens=min(MAX_COUNT, counted))
