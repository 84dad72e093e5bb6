"""Repairs of Anthropic Messages requests (platform.claude.com/docs: adaptive-thinking, effort, migration guide, beta headers).

A beta is a header token and the body fields it allows: both go together, else the API says "Extra inputs are not permitted".
"""

import json
from collections.abc import Mapping
from typing import Any

from tollkeeper.core.errors import WireError
from tollkeeper.wire.counts import Json

from . import effort
from .abilities import Abilities, Thinking
from .draft import Draft

_SAMPLING = ("temperature", "top_p", "top_k")
LEAST_BUDGET = 1_024
"""The least ``budget_tokens`` (docs: extended thinking)."""

_REMINDER = "<system-reminder>\n{}\n</system-reminder>"
_OLDER_TOOLS = (
    ('"web_search_20260209"', '"web_search_20250305"'),
    ('"web_fetch_20260209"', '"web_fetch_20250910"'),
)
"""Tool versions of 2026 and what older models take for them."""


def repair(draft: Draft, takes: Abilities, betas: tuple[str, ...]) -> tuple[str, ...]:
    """Make a Messages request fit a model; the betas that stay. Raises ``WireError`` for a request that cannot be made to fit."""
    if takes.prefill is False and _is_prefilled(draft.get("messages")):
        raise WireError("it begins the model's answer itself (prefill), which this model does not take")
    _fit_thinking(draft, takes)
    _fit_effort(draft, takes)
    if takes.samples is False:
        for key in _SAMPLING:
            _drop(draft, key)
    gone = ["mid-conversation-system"] if _fit_instructions(draft, takes) else []
    if draft.has("fallbacks"):
        _drop(draft, "fallbacks")  # models that might answer instead would be dearer than what was found room for
        gone.append("server-side-fallback")
    if takes.efforts == ():
        gone.append("effort-")
    if takes.fast is False:
        _drop(draft, "speed")
        gone.append("fast-mode-")
    if takes.long_context is False:
        gone.append("context-1m-")
    if takes.newest_tools is False:
        if draft.drop("output_config", "task_budget"):
            draft.notes.append("output_config.task_budget dropped")
        gone += ["task-budgets-", "compact-"]
        if _compacts(draft.get("context_management")):
            _drop(draft, "context_management")
        for newer, older in _OLDER_TOOLS:
            if draft.replace_in("tools", newer, older):
                draft.notes.append(f"{newer} -> {older}".replace('"', ""))
    if takes.thinking is Thinking.NONE:
        _drop(draft, "context_management")
        gone += ["context-management-", "interleaved-thinking-"]
    kept = tuple(beta for beta in betas if not beta.startswith(tuple(gone)))
    draft.notes += [f"beta {beta[:60]} dropped" for beta in betas if beta not in kept]
    return kept


def fit_budget(draft: Draft) -> None:
    """Keep ``budget_tokens`` below ``max_tokens``; where there is no room for thinking at all, it goes."""
    budget, cap = draft.get("thinking", "budget_tokens"), draft.get("max_tokens")
    if type(budget) is not int or type(cap) is not int or budget < cap:
        return
    if cap <= LEAST_BUDGET:
        _drop(draft, "thinking")
    else:
        draft.put(max(LEAST_BUDGET, cap // 2), "thinking", "budget_tokens")
        draft.notes.append(f"thinking.budget_tokens -> {max(LEAST_BUDGET, cap // 2)}")


def set_effort(draft: Draft, takes: Abilities, most: str) -> None:
    """Lower thinking effort to ``most``, in the words this model takes."""
    budget = draft.get("thinking", "budget_tokens")
    if type(budget) is int and effort.rank(effort.word_for(budget)) > effort.rank(most):
        if (allowed := effort.budget_for(most)) < LEAST_BUDGET:
            _drop(draft, "thinking")
        else:
            draft.put(allowed, "thinking", "budget_tokens")
            draft.notes.append(f"thinking.budget_tokens -> {allowed}")
    asked = draft.get("output_config", "effort")
    if takes.efforts and (isinstance(asked, str) or draft.get("thinking", "type") == "adaptive"):
        fitting = effort.within(effort.at_most(asked if isinstance(asked, str) else "high", most), takes.efforts)
        if fitting is not None and fitting != asked:
            draft.put(fitting, "output_config", "effort")
            draft.notes.append(f"output_config.effort -> {fitting}")


def forget_thoughts(messages: Json) -> tuple[list[Json], bool]:
    """A history without the signed thoughts of another model, and whether a tool's result waits for an answer in it.

    In such a turn the API wants the thoughts back, so thinking must be off then (docs: extended thinking with tool use).
    """
    kept: list[Json] = []
    waits = False
    for turn in messages if isinstance(messages, list) else ():
        content = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(turn, dict) and isinstance(content, list):
            blocks = [block for block in content if _kind(block) not in {"thinking", "redacted_thinking"}]
            if not blocks:
                continue
            kept.append({**turn, "content": blocks} if len(blocks) != len(content) else turn)
            waits = turn.get("role") == "user" and any(_kind(block) == "tool_result" for block in blocks)
        else:
            kept.append(turn)
            waits = False
    return kept, waits


def _fit_thinking(draft: Draft, takes: Abilities) -> None:
    kind = draft.get("thinking", "type")
    if takes.thinking is Thinking.NONE and draft.has("thinking"):
        _drop(draft, "thinking")
    elif takes.thinking is Thinking.ADAPTIVE and kind == "enabled":
        budget = draft.get("thinking", "budget_tokens")
        draft.put({"type": "adaptive"}, "thinking")
        draft.notes.append("thinking enabled -> adaptive")
        if type(budget) is int and not draft.has("output_config", "effort") and takes.efforts:
            draft.put(effort.within(effort.word_for(budget), takes.efforts), "output_config", "effort")
    elif takes.thinking is Thinking.BUDGET and kind == "adaptive":
        asked = draft.get("output_config", "effort")
        budget = max(LEAST_BUDGET, effort.budget_for(asked if isinstance(asked, str) else "medium"))
        draft.put({"type": "enabled", "budget_tokens": budget}, "thinking")
        draft.notes.append("thinking adaptive -> enabled")
        if draft.get("temperature") not in {None, 1, "1.0"}:
            _drop(draft, "temperature")  # with thinking it may only be 1
        _drop(draft, "top_k")


def _fit_effort(draft: Draft, takes: Abilities) -> None:
    asked = draft.get("output_config", "effort")
    if takes.efforts is None or not isinstance(asked, str):
        return
    fitting = effort.within(asked, takes.efforts)
    if fitting is None:
        draft.drop("output_config", "effort")
        draft.notes.append("output_config.effort dropped")
    elif fitting != asked:
        draft.put(fitting, "output_config", "effort")
        draft.notes.append(f"output_config.effort {effort.shown(asked)} -> {fitting}")


def _is_prefilled(messages: Json) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def _fit_instructions(draft: Draft, takes: Abilities) -> bool:
    if takes.instructs is not False or not _has_instructions(draft.get("messages")):
        return False
    draft.put([_as_user(turn) for turn in json.loads(draft.text("messages") or "[]")], "messages")
    draft.notes.append("messages: role system -> user")
    return True


def _has_instructions(messages: Json) -> bool:
    return isinstance(messages, list) and any(isinstance(turn, Mapping) and turn.get("role") == "system" for turn in messages)


def _as_user(turn: Any) -> Any:
    """An instruction in the middle of a conversation, as a reminder in the user's turn: so clients said it before there was that role."""
    if not isinstance(turn, dict) or turn.get("role") != "system":
        return turn
    content = turn.get("content")
    if isinstance(content, str):
        return {"role": "user", "content": _REMINDER.format(content)}
    blocks = content if isinstance(content, list) else []
    return {
        "role": "user",
        "content": [
            {**block, "text": _REMINDER.format(block["text"])}
            if isinstance(block, dict) and isinstance(block.get("text"), str)
            else block
            for block in blocks
        ],
    }


def _compacts(management: Json) -> bool:
    edits = management.get("edits") if isinstance(management, Mapping) else None
    return any(str(_kind(edit)).startswith("compact") for edit in edits) if isinstance(edits, list) else False


def _kind(block: Json) -> Json:
    return block.get("type") if isinstance(block, Mapping) else None


def _drop(draft: Draft, key: str) -> None:
    if draft.drop(key):
        draft.notes.append(f"{key} dropped")
