"""Telling an agent in its own conversation that money runs low: one message at the very end, never in the system prompt.

At the end, so that the provider's prompt cache of all that comes before it stays good. The client never sees it and does not send it again.
Anthropic lets no user's turn follow an instruction in the middle of a conversation (``role: system``, which Claude Code ends its requests
with), so the message stands before such a one (platform.claude.com/docs: mid-conversation system messages).
"""

import json
from typing import Any

from tollkeeper.core.call import Endpoint

from .counts import Json
from .repair.draft import Draft
from .row import CHAT, GENERATE, MESSAGES, RESPONSES
from .splice import last_of
from .traits import WRAPPED

_KEYS = {CHAT: "messages", MESSAGES: "messages", RESPONSES: "input", GENERATE: "contents"}
_ENDS = frozenset({"user", "tool", "function"})
"""Whose turn must be the last: what follows an answer of the model would cut into it."""


def steered(endpoint: Endpoint, body: bytes, text: str) -> bytes | None:
    """The body with ``text`` as its last message; None where it has no place for one. Raises ``WireError`` for a body that is no JSON."""
    key = _KEYS.get(endpoint.dialect or "")
    if key is None or WRAPPED in endpoint.traits or endpoint.operation not in {"chat", "generate_content"}:
        return None
    draft = Draft(body)
    turns, written = draft.get(key), draft.text(key)
    if not isinstance(turns, list) or not turns or written is None:
        return None
    told = json.dumps(_message(endpoint, text), ensure_ascii=False)
    if endpoint.dialect == MESSAGES and len(turns) > 1 and _is_instruction(turns[-1]) and _may_follow(turns[-2]):
        start = last_of(written)
        draft.put_text(f"{written[:start]}{told},{written[start:]}", key)
    elif _may_follow(turns[-1]):
        draft.put_text(f"{written.rstrip()[:-1].rstrip()},{told}]", key)
    else:
        return None
    return draft.body()


def _is_instruction(turn: Json) -> bool:
    return isinstance(turn, dict) and turn.get("role") == "system"


def _may_follow(turn: Json) -> bool:
    if not isinstance(turn, dict):
        return False
    role = turn.get("role")
    return role in _ENDS or (role is None and turn.get("type") in {"function_call_output", "custom_tool_call_output"})


def _message(endpoint: Endpoint, text: str) -> dict[str, Any]:
    if endpoint.dialect == GENERATE:
        return {"role": "user", "parts": [{"text": text}]}
    return {"role": "user", "content": text}
