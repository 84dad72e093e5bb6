"""Fill in what a provider did not report: a cut stream is charged for what it used."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil

from tollkeeper.core.call import Call
from tollkeeper.core.usage import MAX_COUNT, Reading, Usage, UsageSource

from .names import clean
from .shipped import Family, load_families
from .tokens import count_tokens


def complete(reading: Reading, call: Call, prompt_text: Callable[[], str] | str) -> Reading:
    """A reading whose missing counts are estimated; any other reading comes back as it is.

    The provider's partial figures are kept (Anthropic's ``message_start`` gives the input exactly); output is the larger of its
    figure and the visible text counted with tiktoken × the family's factor; input is counted from ``prompt_text`` only when the
    provider gave none. Estimated figures are flagged ``estimated-output`` and ``estimated-input``. Reasoning that was never sent
    cannot be seen and is not guessed at.

    CPU work of milliseconds to seconds (the first count also builds the tokenizer): call it from a worker thread.
    """
    if reading.source not in {UsageSource.COUNTED, UsageSource.PARTIAL}:
        return reading
    calls = reading.calls or (Usage(model=reading.model),)
    *before, last = calls
    family = load_families().of(clean(last.model or reading.model or call.model))
    flags = list(reading.flags)
    last = _with_output(last, reading, family, flags)
    if not any(one.total_input_tokens for one in calls):
        last = _with_input(last, call, prompt_text, family, flags)
    return replace(reading, calls=(*before, last), flags=tuple(dict.fromkeys(flags)))


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
