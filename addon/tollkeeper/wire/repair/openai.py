"""Repairs of OpenAI-shaped requests: Chat Completions and Responses (platform.openai.com/docs/api-reference, and its own refusals)."""

from tollkeeper.core.call import Endpoint
from tollkeeper.core.errors import WireError
from tollkeeper.wire.traits import OLD_CAP

from . import effort
from .abilities import Abilities
from .draft import Draft

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs")
_ENCRYPTED = "reasoning.encrypted_content"
_SEARCHES = "web_search_options"
_KEPT_BY_PROVIDER = ("previous_response_id", "conversation")


def repair_chat(draft: Draft, endpoint: Endpoint, takes: Abilities) -> None:
    """Make a Chat Completions request fit a model."""
    _fit_effort(draft, takes, ("reasoning_effort",))
    _fit_effort(draft, takes, ("reasoning", "effort"))  # OpenRouter's spelling
    _fit_sampling(draft, takes, ("reasoning_effort",))
    _fit_verbosity(draft, takes, ("verbosity",))
    if OLD_CAP in endpoint.traits and draft.has("max_completion_tokens"):
        draft.rename("max_completion_tokens", "max_tokens")
        draft.notes.append("max_completion_tokens -> max_tokens")
    elif takes.samples is False and endpoint.operation == "chat" and OLD_CAP not in endpoint.traits and draft.has("max_tokens"):
        draft.rename("max_tokens", "max_completion_tokens")
        draft.notes.append("max_tokens -> max_completion_tokens")
    if takes.samples is not None:
        _drop(draft, _SEARCHES)  # only the search models take it
    _drop_other_models(draft)
    _drop_tier(draft)


def repair_responses(draft: Draft, takes: Abilities, *, continues: bool = False) -> None:
    """Make a Responses request fit a model. Raises ``WireError`` where the provider keeps its history, unless it ``continues`` one."""
    for key in () if continues else _KEPT_BY_PROVIDER:
        if draft.get(key):
            raise WireError(f'its history is kept by the provider ("{key}")')
    _fit_effort(draft, takes, ("reasoning", "effort"))
    if takes.efforts == ():
        _drop(draft, "reasoning")
        include = draft.get("include")
        if isinstance(include, list) and _ENCRYPTED in include:
            draft.put([one for one in include if one != _ENCRYPTED], "include")
            draft.notes.append(f"include {_ENCRYPTED} dropped")
    _fit_sampling(draft, takes, ("reasoning", "effort"))
    _fit_verbosity(draft, takes, ("text", "verbosity"))
    _drop_other_models(draft)
    _drop_tier(draft)


def set_effort(draft: Draft, takes: Abilities, most: str, path: tuple[str, ...]) -> None:
    """Lower thinking effort to ``most``, in the words this model takes. Nothing is added where the default is to think little."""
    asked = draft.get(*path)
    if not takes.efforts or (not isinstance(asked, str) and "none" in takes.efforts):
        return
    fitting = effort.within(effort.at_most(asked if isinstance(asked, str) else "medium", most), takes.efforts)
    if fitting is not None and fitting != asked:
        draft.put(fitting, *path)
        draft.notes.append(f"{'.'.join(path)} -> {fitting}")


def _fit_effort(draft: Draft, takes: Abilities, path: tuple[str, ...]) -> None:
    asked = draft.get(*path)
    if takes.efforts is None or not isinstance(asked, str):
        return
    fitting = effort.within(asked, takes.efforts)
    if fitting is None:
        draft.drop(*path)
        draft.notes.append(f"{'.'.join(path)} dropped")
    elif fitting != asked:
        draft.put(fitting, *path)
        draft.notes.append(f"{'.'.join(path)} {effort.shown(asked)} -> {fitting}")


def _fit_sampling(draft: Draft, takes: Abilities, effort_path: tuple[str, ...]) -> None:
    if takes.samples is not False:
        return
    if takes.samples_at_none and draft.get(*effort_path) in {None, "none"}:
        return
    for key in _SAMPLING:
        _drop(draft, key)
    include = draft.get("include")
    if isinstance(include, list) and "message.output_text.logprobs" in include:
        draft.put([one for one in include if one != "message.output_text.logprobs"], "include")


def _fit_verbosity(draft: Draft, takes: Abilities, path: tuple[str, ...]) -> None:
    if takes.verbosity is False and draft.drop(*path):
        draft.notes.append(f"{'.'.join(path)} dropped")


def _drop_tier(draft: Draft) -> None:
    """A tier is sold per model, and a dearer one would not be the price that was held."""
    if draft.get("service_tier") in {"priority", "flex", "scale"}:
        _drop(draft, "service_tier")


def _drop_other_models(draft: Draft) -> None:
    """Models that might answer instead would be dearer than the one that was found room for."""
    for key in ("models", "fallbacks"):
        _drop(draft, key)


def _drop(draft: Draft, key: str) -> None:
    if draft.drop(key):
        draft.notes.append(f"{key} dropped")
