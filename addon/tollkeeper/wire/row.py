"""One line of a route table: which method and path is which operation, and what can be read of it.

A pattern covers the whole path, after ``routes`` has decoded it, resolved its dots and taken doubled and trailing slashes out;
letter case does not count.
"""

import re
from dataclasses import dataclass

from tollkeeper.core.call import Metering

CHAT, RESPONSES, MESSAGES, GENERATE = "openai-chat", "openai-responses", "anthropic-messages", "gemini-generate"
IMAGES, TRANSCRIPTION, SPEECH, VIDEO = "openai-images", "openai-transcription", "openai-speech", "openai-video"
XAI_GRPC = "xai-grpc"
INTERACTIONS, EMBED, PREDICT, GEMINI_LIVE = "gemini-interactions", "gemini-embed", "gemini-predict", "gemini-live"
REALTIME, XAI_REALTIME, LIVE = "openai-realtime", "xai-realtime", "openai-live"
"""Shapes of sessions: spoken over WebSockets only."""

FIXED_MODEL_DIALECTS = frozenset(
    {"any-shape", "mistral-native", "perplexity-async", "replicate", "stated-counts", "vercel-sdk", "watsonx", "workers-ai"}
)
"""Dialects whose requests do not name their model as a top-level ``model`` that could be changed."""

NOT_A_CALL = "not a model call"
UNKNOWN = "a path that nothing here reads the usage of"
LATER = "its usage is not read yet"
COUNTING = "counting tokens is free"

BATCH = "batch"
"""Operation of a batch's submission: counted at its estimate, billed when its results are read."""

UPLOAD = "upload"
"""Operation of an upload: free, unless it holds a batch's requests, which are then checked against budgets and not yet billed."""

RETRIEVE = "retrieve"
"""Operation of a request that asks for nothing new: its answer may state what an earlier one used, so nothing is held for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``methods`` is a space-separated list, ``*`` for any; first match wins."""

    methods: str
    pattern: re.Pattern[str]
    operation: str
    dialect: str | None
    metering: Metering
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How one provider's hosts deviate from the common table: its own rows, tried first, and its traits by ``wire.traits``.

    ``usage`` says whether OpenAI-shaped streams carry usage unasked, or may be asked for it. ``new_cap``: it takes
    ``max_completion_tokens``. ``traits`` go with everything it serves, ``chat_traits`` with OpenAI-shaped chat only.
    """

    name: str
    rows: tuple[Row, ...] = ()
    usage: str | None = None
    new_cap: bool = False
    traits: frozenset[str] = frozenset()
    chat_traits: frozenset[str] = frozenset()


def read(methods: str, pattern: str, operation: str, dialect: str) -> Row:
    """A path whose usage ``dialect`` reads. A group ``model`` in the pattern names the model."""
    return Row(methods, re.compile(pattern, re.IGNORECASE), operation, dialect, Metering.METERED, "")


def free(methods: str, pattern: str, reason: str = NOT_A_CALL, operation: str = "other") -> Row:
    """A path that the provider does not bill."""
    return Row(methods, re.compile(pattern, re.IGNORECASE), operation, None, Metering.FREE, reason)


def blind(methods: str, pattern: str, operation: str, reason: str) -> Row:
    """A path that may be billed and that nothing here reads, with the reason."""
    return Row(methods, re.compile(pattern, re.IGNORECASE), operation, None, Metering.UNMETERED, reason)


def all_blind(reason: str) -> tuple[Row, ...]:
    """Rows of a host of which nothing is read."""
    return (blind("POST", r".*", "other", reason),)
