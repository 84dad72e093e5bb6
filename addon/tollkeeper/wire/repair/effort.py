"""Words for thinking effort and the token budgets that stand for them."""

from typing import Final

WORDS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Least first, over all providers."""

_BUDGETS: Final = ((0, "none"), (1_024, "low"), (8_192, "medium"), (24_576, "high"))
"""Google's own equivalents (ai.google.dev/gemini-api/docs/openai, "Thinking"); a larger budget is ``max``."""


def rank(word: str) -> int:
    """How much thinking a word asks for; an unknown word is the most."""
    word = word.lower()
    return WORDS.index(word) if word in WORDS else len(WORDS)


def within(word: str, efforts: tuple[str, ...]) -> str | None:
    """The largest of ``efforts`` that asks for no more than ``word``, else the least of them; None when there are none."""
    fitting = [effort for effort in efforts if rank(effort) <= rank(word)]
    return max(fitting, key=rank) if fitting else min(efforts, key=rank, default=None)


def at_most(word: str, most: str) -> str:
    """The smaller of two efforts."""
    return word if rank(word) <= rank(most) else most


def word_for(budget_tokens: int) -> str:
    """The word for a budget of thinking tokens; −1 lets the model choose, which is the most."""
    if budget_tokens < 0:
        return "max"
    return next((word for most, word in _BUDGETS if budget_tokens <= most), "max")


def budget_for(word: str) -> int:
    """The budget of thinking tokens for a word."""
    return next((most for most, name in _BUDGETS if rank(name) >= rank(word)), 32_768)


def shown(word: str) -> str:
    """A client's word for people: cut, and printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in word[:20])
