"""A warning in the words a client already understands, where it has such words and its provider has not used them.

Claude Code reads ``anthropic-ratelimit-unified-*`` and tells its user from 75 % on. A subscriber's own figures are never touched.
"""

from collections.abc import Mapping
from typing import Final

from tollkeeper.core.call import Endpoint

from .row import MESSAGES

PREFIX: Final = "anthropic-ratelimit-unified-"
CLIENTS: Final = ("claude-code",)


def client_warning(
    endpoint: Endpoint, client: str, upstream: Mapping[str, str], used_percent: int, resets_at: int | None
) -> dict[str, str]:
    """Headers to add to an answer; none for other clients, or where ``upstream`` (lower-case names) has its own.

    ``resets_at`` is UTC microseconds; a budget without a reset is told as one of seven days, the client's longest.
    """
    if endpoint.dialect != MESSAGES or not client.startswith(CLIENTS) or any(name.startswith(PREFIX) for name in upstream):
        return {}
    used = f"{min(max(used_percent, 0), 100) / 100:.2f}"
    headers = {
        f"{PREFIX}status": "allowed_warning",
        f"{PREFIX}representative-claim": "seven_day",
        f"{PREFIX}7d-utilization": used,
    }
    if resets_at is not None:
        seconds = str(resets_at // 1_000_000)
        headers |= {f"{PREFIX}reset": seconds, f"{PREFIX}7d-reset": seconds}
    return headers
