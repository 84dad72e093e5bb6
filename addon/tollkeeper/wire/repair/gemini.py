"""Repairs of Gemini requests (ai.google.dev/gemini-api/docs/thinking, /thought-signatures).

Gemini 3 takes ``thinkingLevel``, 2.5 ``thinkingBudget``; both at once, or the wrong one, is refused.
"""

from collections.abc import Mapping
from typing import Any

from tollkeeper.core.call import Endpoint
from tollkeeper.core.errors import WireError
from tollkeeper.wire.counts import Json
from tollkeeper.wire.traits import WRAPPED

from . import effort
from .abilities import Abilities
from .draft import Draft

UNSIGNED = "skip_thought_signature_validator"
"""What Google's own documentation gives as the signature of a call that another model made."""


def repair(draft: Draft, endpoint: Endpoint, takes: Abilities) -> None:
    """Make a request fit a model. Raises ``WireError`` where it uses a cache, which is bound to its model."""
    root = ("request",) if WRAPPED in endpoint.traits else ()
    for key in ("cachedContent", "cached_content"):
        if draft.get(*root, key):
            raise WireError(f'it uses a prompt cache that is bound to its model ("{key}")')
    config, path = _thinking(draft, root)
    if not config or takes.efforts is None:
        return
    level_key, budget_key = (
        _spelled(config, "thinkingLevel", "thinking_level"),
        _spelled(config, "thinkingBudget", "thinking_budget"),
    )
    level, budget = config.get(level_key), config.get(budget_key)
    if takes.efforts:
        _to_level(draft, takes, path, (level_key, level), (budget_key, budget))
    elif takes.budget == (0, 0):
        draft.drop(*path)
        draft.notes.append("thinkingConfig dropped")
    elif isinstance(level, str) and takes.budget is not None:
        draft.drop(*path, level_key)
        draft.put(_within(effort.budget_for(level), takes.budget), *path, budget_key)
        draft.notes.append("thinkingLevel -> thinkingBudget")
    elif type(budget) is int and budget >= 0 and takes.budget is not None and (fit := _within(budget, takes.budget)) != budget:
        draft.put(fit, *path, budget_key)
        draft.notes.append(f"thinkingBudget -> {fit}")


def set_effort(draft: Draft, endpoint: Endpoint, takes: Abilities, most: str) -> None:
    """Lower thinking effort to ``most``, as this model is told it."""
    root = ("request",) if WRAPPED in endpoint.traits else ()
    config, path = _thinking(draft, root)
    if takes.efforts:
        key = _spelled(config, "thinkingLevel", "thinking_level")
        asked = config.get(key)
        fitting = effort.within(effort.at_most(asked if isinstance(asked, str) else "high", most), takes.efforts)
        if fitting is not None and (not isinstance(asked, str) or asked.lower() != fitting):
            draft.put(fitting, *path, key)
            draft.notes.append(f"thinkingLevel -> {fitting}")
    elif takes.budget is not None and takes.budget != (0, 0):
        key = _spelled(config, "thinkingBudget", "thinking_budget")
        budget, allowed = config.get(key), _within(effort.budget_for(most), takes.budget)
        if type(budget) is not int or budget < 0 or budget > allowed:
            draft.put(allowed, *path, key)
            draft.notes.append(f"thinkingBudget -> {allowed}")


def unsigned(contents: Json) -> list[Any]:
    """A history whose calls bear no other model's signature."""

    def part_of(part: Json) -> Json:
        if not isinstance(part, dict):
            return part
        bare = {key: value for key, value in part.items() if key not in {"thoughtSignature", "thought_signature"}}
        return {**bare, "thoughtSignature": UNSIGNED} if "functionCall" in bare else bare

    kept = []
    for turn in contents if isinstance(contents, list) else ():
        parts = turn.get("parts") if isinstance(turn, dict) else None
        kept.append({**turn, "parts": [part_of(part) for part in parts]} if isinstance(parts, list) else turn)
    return kept


def _to_level(draft: Draft, takes: Abilities, path: tuple[str, ...], level: tuple[str, Json], budget: tuple[str, Json]) -> None:
    asked = level[1]
    if not isinstance(asked, str) and type(budget[1]) is int:
        asked = effort.word_for(budget[1])
    if budget[1] is not None:
        draft.drop(*path, budget[0])
    if isinstance(asked, str):
        fitting = effort.within(asked, takes.efforts or ())
        if not isinstance(level[1], str) or fitting != level[1].lower():
            draft.put(fitting, *path, level[0])
            draft.notes.append(f"thinkingLevel -> {fitting}")


def _thinking(draft: Draft, root: tuple[str, ...]) -> tuple[Mapping[str, Json], tuple[str, ...]]:
    """The thinking configuration, and where it stands or would."""
    for outer in ("generationConfig", "generation_config"):
        for inner in ("thinkingConfig", "thinking_config"):
            found = draft.get(*root, outer, inner)
            if isinstance(found, Mapping):
                return found, (*root, outer, inner)
    outer = "generation_config" if draft.has(*root, "generation_config") else "generationConfig"
    return {}, (*root, outer, "thinkingConfig")


def _spelled(config: Mapping[str, Json], camel: str, snake: str) -> str:
    return snake if snake in config else camel


def _within(budget: int, bounds: tuple[int, int]) -> int:
    return min(max(budget, bounds[0]), bounds[1])
