"""How a host deviates from the dialect it speaks: ``providers`` hold the names, ``routes`` attaches them, the dialects act on them."""

USAGE_UNASKED = "usage-unasked"
"""Streams carry usage although the request does not ask for it (docs/wire.md, "Asking for usage")."""

USAGE_ASKABLE = "usage-askable"
"""``stream_options.include_usage`` is known to be taken, and needed."""

REASONING_OUTSIDE = "reasoning-outside"
"""``reasoning_tokens`` stands beside ``completion_tokens``, not inside, where ``total_tokens`` does not tell (xAI chat, Vercel)."""

REASONING_APART = "reasoning-apart"
"""Reasoning is billed besides ``completion_tokens`` although ``total_tokens`` leaves it out (Perplexity deep research)."""

OUTPUT_IS_REST = "output-is-rest"
"""``completion_tokens`` omits thoughts: the output is ``total_tokens`` − ``prompt_tokens`` (Gemini's OpenAI surface)."""

WRAPPED = "wrapped"
"""The request stands under ``request`` and the answer under ``response`` (Code Assist)."""

OLD_CAP = "old-cap"
"""The cap on output is ``max_tokens``; ``max_completion_tokens`` is not known to be taken."""

TEN_SECONDS = "ten-seconds"
"""A transcription is billed for ten seconds at least (console.groq.com/docs/speech-to-text)."""

FIXED_MODEL = "fixed-model"
"""The model stands where no rewrite reaches it: in a header, a list of attempts, a path of its own, or under another key."""

COST_IN_HEADER = "cost-in-header"
"""A gateway of somebody's own, which states its cost in ``x-litellm-response-cost`` (docs.litellm.ai/docs/proxy/response_headers)."""

SUBSCRIPTION = "subscription"
"""A plan's traffic: tokens are visible, the marginal price is none."""
