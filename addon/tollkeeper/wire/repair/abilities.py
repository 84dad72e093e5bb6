"""What a model takes in a request, by its name: one row a family. What no row speaks of is left as it is.

Sources: platform.openai.com/docs/guides/reasoning and the API's own refusals ("Supported values are: …"); platform.claude.com/docs
build-with-claude/effort, adaptive-thinking, and the migration guide; ai.google.dev/gemini-api/docs/thinking.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final


class Thinking(StrEnum):
    """How Claude is told to think."""

    NONE = "none"
    BUDGET = "budget"
    """``thinking: {type: enabled, budget_tokens}``."""
    EITHER = "either"
    ADAPTIVE = "adaptive"
    """``thinking: {type: adaptive}`` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What one family takes. None means not known.

    ``efforts``: words for thinking effort, least first; empty takes no such parameter. ``samples``: whether it takes ``temperature`` and
    its like; ``samples_at_none``: only while effort is ``none``. ``budget``: the least and most of Gemini's ``thinkingBudget``.
    """

    efforts: tuple[str, ...] | None = None
    samples: bool | None = None
    samples_at_none: bool = False
    verbosity: bool | None = None
    thinking: Thinking | None = None
    prefill: bool | None = None
    long_context: bool | None = None
    """Takes the beta for a context of 1M tokens."""
    fast: bool | None = None
    newest_tools: bool | None = None
    """Takes the 2026 versions of the web tools, and compaction."""
    budget: tuple[int, int] | None = None
    instructs: bool | None = None
    """Takes instructions in the middle of a conversation (``role: system``): Claude since Opus 4.8."""


UNKNOWN: Final = Abilities()

_LOW_HIGH: Final = ("low", "medium", "high")
_TO_XHIGH: Final = (*_LOW_HIGH, "xhigh")


def _reasons(*efforts: str, at_none: bool = False, verbosity: bool = True) -> Abilities:
    return Abilities(efforts=efforts, samples=False, samples_at_none=at_none, verbosity=verbosity)


def _claude(
    thinking: Thinking,
    *efforts: str,
    samples: bool = True,
    prefill: bool = True,
    long: bool = False,
    fast: bool = False,
    instructs: bool | None = False,
) -> Abilities:
    return Abilities(
        efforts=efforts,
        samples=samples,
        thinking=thinking,
        prefill=prefill,
        long_context=long,
        fast=fast,
        newest_tools=thinking in {Thinking.EITHER, Thinking.ADAPTIVE},
        instructs=instructs,
    )


_PLAIN = Abilities(efforts=(), samples=True, verbosity=False)
_START = r"(?:^|[/.:~])(?:ft:)?"
_TABLE: Final = tuple(
    (re.compile(pattern), abilities)
    for pattern, abilities in (
        (_START + r"gpt-5[\d.]*-chat|" + _START + r"(?:gpt-(?:35|[34](?!\d))|chatgpt)", _PLAIN),
        (_START + r"gpt-5-pro", _reasons("high")),
        (_START + r"gpt-5\.[2-9]\d*-pro", _reasons("medium", "high", "xhigh")),
        (_START + r"gpt-5(?:\.1)?-codex(?!-max)", _reasons(*_LOW_HIGH)),
        (_START + r"gpt-5\.\d+-codex", _reasons(*_TO_XHIGH)),
        (_START + r"gpt-5\.1(?:-|$)", _reasons("none", *_LOW_HIGH, at_none=True)),
        (_START + r"gpt-(?:5\.\d+|[6-9](?:\.\d+)?)(?:-|$)", _reasons("none", *_TO_XHIGH, at_none=True)),
        (_START + r"gpt-5(?:-|$)", _reasons("minimal", *_LOW_HIGH)),
        (_START + r"(?:o\d(?:-mini|-pro)?-deep-research)", _reasons("medium", verbosity=False)),
        (_START + r"(?:o1-(?:mini|preview))", _reasons(verbosity=False)),
        (_START + r"(?:o[134](?:-|$)|codex-mini)", _reasons(*_LOW_HIGH, verbosity=False)),
        (r"gpt-oss", Abilities(efforts=_LOW_HIGH, samples=True)),
        (r"claude-(?:2|instant|v\d|3-(?:opus|sonnet|haiku)|3[.-]5)", _claude(Thinking.NONE)),
        (r"claude-3[.-]7", _claude(Thinking.BUDGET)),
        (r"claude-opus-4[.-]5", _claude(Thinking.BUDGET, *_LOW_HIGH)),
        (r"claude-opus-4[.-]6", _claude(Thinking.EITHER, *_LOW_HIGH, "max", prefill=False, long=True, fast=True)),
        (r"claude-sonnet-4[.-]6", _claude(Thinking.EITHER, *_LOW_HIGH, "max", prefill=False, long=True)),
        (r"claude-(?:sonnet-4(?![.-][6-9](?!\d))|4-sonnet)", _claude(Thinking.BUDGET, long=True)),
        (r"claude-(?:haiku-4|opus-4(?![.-][5-9](?!\d))|4-opus)", _claude(Thinking.BUDGET)),
        (
            r"claude-opus-4[.-]7",
            _claude(Thinking.ADAPTIVE, *_TO_XHIGH, "max", samples=False, prefill=False, long=True, fast=True),
        ),
        (
            r"claude-(?:opus-(?:4[.-][89]|[5-9])|sonnet-(?:4[.-][7-9]|[5-9])|haiku-[5-9]|fable|mythos)",
            _claude(Thinking.ADAPTIVE, *_TO_XHIGH, "max", samples=False, prefill=False, long=True, fast=True, instructs=None),
        ),
        (r"gemini-2\.5-pro", Abilities(efforts=(), budget=(128, 32_768))),
        (r"gemini-2\.5-flash-lite", Abilities(efforts=(), budget=(512, 24_576))),
        (r"gemini-2\.5", Abilities(efforts=(), budget=(1, 24_576))),
        (r"gemini-(?:1|2\.0)", Abilities(efforts=(), budget=(0, 0))),
        (r"gemini-3(?:\.\d)?-pro", Abilities(efforts=_LOW_HIGH)),
        (r"gemini-[3-9]", Abilities(efforts=("minimal", *_LOW_HIGH))),
    )
)


@lru_cache(maxsize=512)
def abilities_of(model: str) -> Abilities:
    """The row of the first family that a model's name fits."""
    name = model.lower()[:200]
    return next((abilities for pattern, abilities in _TABLE if pattern.search(name)), UNKNOWN)
