"""Plan or metered: whether a subscription pays for a call, and how much of that subscription's windows is used.

Told by the host, the path and the kind of credential, never by its value. Sources: docs/wire.md, "Plans"; Z.ai, Kimi, MiniMax and
Alibaba coding-plan docs name hosts, paths and key prefixes; Claude plans use OAuth tokens that begin with ``sk-ant-oat``.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qsl

from tollkeeper.core.call import Endpoint
from tollkeeper.core.clock import US_PER_SECOND, from_datetime
from tollkeeper.core.usage import PlanWindow

from .counts import Json, decimal, member, name
from .traits import SUBSCRIPTION

WHOLE_PPM = 1_000_000
MAX_WINDOWS = 16
_MAX_EPOCH_S = 2**33

_CREDENTIALS: dict[str, tuple[bytes, str]] = {
    "anthropic": (b"sk-ant-oat", "claude"),
    "moonshot": (b"sk-kimi-", "kimi-coding"),
    "minimax": (b"sk-cp-", "minimax-coding"),
    "alibaba": (b"sk-sp-", "alibaba-coding"),
}
"""What a plan's credential begins with at each provider; nothing else of it is looked at."""

_PATHS: tuple[tuple[str, str, str], ...] = (
    ("zai", r"/api/coding/.*", "zai-coding"),
    ("moonshot", r"/coding(?:/.*)?", "kimi-coding"),
)
_PLAN_PATHS = tuple((provider, re.compile(pattern), plan) for provider, pattern, plan in _PATHS)
_PLAN_HOSTS = {
    "api.kimi.com": "kimi-coding",
    "coding.dashscope.aliyuncs.com": "alibaba-coding",
    "coding-intl.dashscope.aliyuncs.com": "alibaba-coding",
}
_NAMES = {"chatgpt": "chatgpt", "copilot": "copilot", "code-assist": "gemini-code-assist"}
_CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})

_UNIFIED = re.compile(r"anthropic-ratelimit-unified-(?:(?P<window>[a-z0-9_]{1,24})-)?(?P<figure>utilization|reset|status)")
_CODEX = re.compile(
    r"x-codex-(?P<family>[a-z0-9-]{0,32}?)(?P<window>primary|secondary)-(?P<figure>used-percent|window-minutes|reset-at|reset-after-seconds)"
)
_SNAPSHOT = "x-quota-snapshot-"
_COPILOT_RATES = "x-usage-ratelimit-"
_MINUTES = {300: "5h", 10_080: "7d", 1_440: "1d", 43_200: "30d"}


def plan_of(endpoint: Endpoint, fields: Iterable[tuple[bytes, bytes]]) -> str:
    """The plan that pays for a call, empty when it is metered. Of a credential only the scheme and its first letters are looked at."""
    if SUBSCRIPTION in endpoint.traits:
        return _NAMES.get(endpoint.provider, endpoint.provider)
    if (plan := _PLAN_HOSTS.get(endpoint.host)) is not None:
        return plan
    for provider, pattern, plan in _PLAN_PATHS:
        if provider == endpoint.provider and pattern.fullmatch(endpoint.path):
            return plan
    prefix, plan = _CREDENTIALS.get(endpoint.provider, (b"", ""))
    if not plan:
        return ""
    heads = [
        value[:24].lower().removeprefix(b"bearer").lstrip() for header, value in fields if header.lower() in _CREDENTIAL_HEADERS
    ]
    # A plan's token beside a key would leave it to the provider which of them pays: counted as metered.
    return plan if heads and all(head.startswith(prefix) for head in heads) else ""


def windows_in(headers: Mapping[str, str]) -> tuple[PlanWindow, ...]:
    """The plan windows that an answer's headers (lower-case names) state, at most 16. Never raises."""
    found: dict[str, dict[str, str]] = {}
    for header, value in headers.items():
        if len(value) > 200:
            continue
        if header.startswith("anthropic-ratelimit-unified-"):
            if (match := _UNIFIED.fullmatch(header)) is not None and match["window"] != "overage":
                found.setdefault(match["window"] or "plan", {})[match["figure"]] = value
        elif header.startswith("x-codex-"):
            if (match := _CODEX.fullmatch(header)) is not None:
                found.setdefault(f"{match['family']}{match['window']}", {})[match["figure"]] = value
        elif header.startswith((_SNAPSHOT, _COPILOT_RATES)):
            figures = dict(parse_qsl(value, max_num_fields=16) if value.count("&") < 16 else ())
            found.setdefault(header.removeprefix(_SNAPSHOT).removeprefix(_COPILOT_RATES), {}).update(figures)
    windows = (_window(key, figures) for key, figures in list(found.items())[:MAX_WINDOWS])
    return tuple(window for window in windows if window is not None)


def windows_of_event(event: Mapping[str, Json]) -> tuple[PlanWindow, ...]:
    """The windows of a ``codex.rate_limits`` event: the same figures as its headers, for a stream or socket that has none."""
    limits = member(event, "rate_limits")
    found = []
    for key in ("primary", "secondary"):
        window = member(limits, key)
        figures = {
            "used-percent": window.get("used_percent"),
            "window-minutes": window.get("window_minutes"),
            "reset-at": window.get("reset_at"),
            "reset-after-seconds": window.get("reset_after_seconds", window.get("resets_in_seconds")),
        }
        if (made := _window(key, {figure: str(value) for figure, value in figures.items() if value is not None})) is not None:
            found.append(made)
    return tuple(found)


def _window(key: str, figures: Mapping[str, str]) -> PlanWindow | None:
    known = name(key)
    if known is None:
        return None
    if "used-percent" in figures:
        minutes = _whole(figures.get("window-minutes"), 10**7)
        if minutes == 0:
            return None  # a window that this plan does not have
        label = _MINUTES.get(minutes or -1) or (f"{minutes}min" if minutes else known)
        family = known.removesuffix("primary").removesuffix("secondary").strip("-")
        return PlanWindow(
            name=f"{family}-{label}" if family and label != known else label,
            used_ppm=_ppm(figures["used-percent"], WHOLE_PPM // 100),
            resets_at=_epoch(figures.get("reset-at")),
            resets_after_s=_whole(figures.get("reset-after-seconds"), 10**8),
        )
    if "rem" in figures:
        left = _ppm(figures["rem"], WHOLE_PPM // 100)
        unlimited = figures.get("ent") == "-1"
        return PlanWindow(
            name=known,
            used_ppm=None if left is None or unlimited else max(0, WHOLE_PPM - left),
            resets_at=_moment(figures.get("rst")),
            status="unlimited" if unlimited else "",
        )
    used, resets_at, status = (
        _ppm(figures.get("utilization"), WHOLE_PPM),
        _epoch(figures.get("reset")),
        name(figures.get("status")),
    )
    if used is None and resets_at is None and status is None:
        return None
    return PlanWindow(name=known, used_ppm=used, resets_at=resets_at, status=status or "")


def _ppm(value: str | None, scale: int) -> int | None:
    """A share in millionths. Above the whole is possible (overage); what is no number, or absurd, is not known."""
    number = decimal(value)
    if number is None or not 0 <= number <= Decimal(100_000):
        return None
    return int(number * scale)


def _whole(value: str | None, most: int) -> int | None:
    number = decimal(value)
    return int(number) if number is not None and 0 <= number <= most else None


def _epoch(value: str | None) -> int | None:
    seconds = _whole(value, _MAX_EPOCH_S)
    return seconds * US_PER_SECOND if seconds else _moment(value)


def _moment(value: str | None) -> int | None:
    if not value or not value[:4].isdigit() or len(value) < 10:
        return None
    try:
        moment = datetime.fromisoformat(value)
        at = from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return None
    return at if at > 0 else None
