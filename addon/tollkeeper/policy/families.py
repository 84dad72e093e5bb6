"""Which models can be asked for in which dialect, by the names their makers give them."""

_MODELS = {
    "claude": "anthropic",
    "gpt-": "openai",
    "chatgpt-": "openai",
    "codex-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "gemini": "google",
}
"""How the makers' model names begin. A name that is not here (self-hosted, an alias) may be in any dialect."""

_DIALECTS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google", "google": "google"}
"""Words in the names of dialects that one maker's models speak."""


def speaks(dialect: str, model: str) -> bool:
    """Whether ``model`` can be meant in ``dialect`` (``anthropic_messages``, ``openai_chat``, …); yes where nothing says no.

    So that one list of cheaper models serves all providers: each call takes those that its own dialect knows. A name with a
    ``/`` belongs to an aggregator, where every model speaks the one dialect. Whether the provider sells the model is the price
    book's to say.
    """
    spoken = next((maker for word, maker in _DIALECTS.items() if word in dialect), None)
    if spoken is None or "/" in model:
        return True
    made = next((maker for beginning, maker in _MODELS.items() if model.lower().startswith(beginning)), None)
    return made is None or made == spoken
