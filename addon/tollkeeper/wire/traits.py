"""How a host's surface deviates from the dialect it speaks. Data: ``routes`` attaches the names, the dialects act on them."""

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

SUBSCRIPTION = "subscription"
"""A plan's traffic: tokens are visible, the marginal price is none."""

USAGE_BY_HOST: dict[str, str] = {
    # Seen in recorded streams without the flag, or documented (docs/wire.md).
    "mistral": USAGE_UNASKED,
    "openrouter": USAGE_UNASKED,
    "deepseek": USAGE_UNASKED,
    "zai": USAGE_UNASKED,
    "perplexity": USAGE_UNASKED,
    "cerebras": USAGE_UNASKED,
    "copilot": USAGE_UNASKED,
    "groq": USAGE_UNASKED,
    "moonshot": USAGE_UNASKED,
    "vercel": USAGE_UNASKED,
    "writer": USAGE_UNASKED,
    # Needed and known to be taken: documented, or recorded with a 200.
    "openai": USAGE_ASKABLE,
    "azure": USAGE_ASKABLE,
    "github-models": USAGE_ASKABLE,
    "xai": USAGE_ASKABLE,
    "together": USAGE_ASKABLE,
    "fireworks": USAGE_ASKABLE,
    "venice": USAGE_ASKABLE,
    "doubleword": USAGE_ASKABLE,
    "nvidia": USAGE_ASKABLE,
    "deepinfra": USAGE_ASKABLE,
    "sambanova": USAGE_ASKABLE,
    "alibaba": USAGE_ASKABLE,
    "bedrock-mantle": USAGE_ASKABLE,
    "gemini": USAGE_ASKABLE,
    "ollama": USAGE_ASKABLE,
    "local": USAGE_ASKABLE,
}
