"""What verified claims must say before they are believed: times, required values, groups."""

from collections.abc import Iterable, Mapping
from typing import Any

from .answers import Refused, Why
from .issuer import GroupSource, Issuer, Kind
from .subject import claim_at, word_of

MAX_GROUPS = 500
MAX_GROUP_CHARS = 256
MAX_MOMENT = 2**40
_TIMES = ("exp", "iat", "nbf")


def check_times(row: Issuer, claims: Mapping[str, Any], now_s: float, skew_s: int) -> int | Refused:
    """The moment the token ends (UTC seconds). PyJWT takes text, NaN and 10^300 for times; we do not (measured on 2.15.1)."""
    times: dict[str, float] = {}
    for name in _TIMES:
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MAX_MOMENT:
            return _time(row, f"its {name} is not a moment")
        times[name] = value
    if "exp" not in times or ("iat" not in times and row.needs_iat):
        return _time(row, "it does not say when it was issued and when it ends")
    issued = times.get("iat", now_s)
    if times["exp"] <= now_s - skew_s:
        remedy = "log in again (`tollkeeper login`), or ask for a new token"
        return Refused(why=Why.EXPIRED, reason=f"the token of {row.name} ended {_ago(now_s - times['exp'])} ago", remedy=remedy)
    for name in ("iat", "nbf"):
        if times.get(name, 0) > now_s + skew_s:
            return _time(row, f"it begins in {_ago(times[name] - now_s)}", "check this machine's clock, then the issuer's")
    if times["exp"] - issued > row.max_life_s:
        hours = row.max_life_s // 3600
        remedy = f"let the issuer shorten it, or raise max_life_hours of [issuer.{row.name}]"
        return _time(row, f"it is made out for longer than the {hours} h that are believed", remedy)
    return int(times["exp"])


def check_required(row: Issuer, claims: Mapping[str, Any]) -> Refused | None:
    """Whether every claim that the row requires has one of its values."""
    for name, accepted in row.required.items():
        word = word_of(claim_at(claims, name))
        if word is None or word not in accepted:
            state = "has no claim" if word is None else "has another value of the claim"
            remedy = f"see `require` and the fixed claims of [issuer.{row.name}] (docs/identity.md)"
            return Refused(why=Why.CLAIMS, reason=f"the token of {row.name} {state} {name} than is required", remedy=remedy)
    return None


def groups_in(row: Issuer, claims: Mapping[str, Any]) -> frozenset[str] | Refused:
    """The groups a row's claim names; empty when none is configured or the person is in none."""
    if row.groups_from is not GroupSource.CLAIM:
        return frozenset()
    value = claim_at(claims, row.groups_claim)
    if value is None and row.kind is Kind.ENTRA and row.groups_claim == "groups" and _overflowed(claims):
        # https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference#groups-overage-claim
        return Refused(
            why=Why.GROUPS,
            reason=f"{row.name} left the groups out of the token, because this person is in more than 200",
            remedy='in the app registration choose "Groups assigned to the application" under Token configuration, '
            f'or use app roles and groups = "roles" in [issuer.{row.name}]',
        )
    return named_groups(row, value)


def named_groups(row: Issuer, value: Any) -> frozenset[str] | Refused:
    """Groups from a list of names, or of objects with a ``name``; one name alone; None for none."""
    items: Iterable[Any] = value if isinstance(value, list) else () if value is None else (value,)
    found = set()
    for item in items:
        name = item.get("name") or item.get("id") if isinstance(item, dict) else item
        if not isinstance(name, str) or not 0 < len(name) <= MAX_GROUP_CHARS or not name.isprintable():
            reason = f"the groups of {row.name} are not a list of names"
            return Refused(why=Why.GROUPS, reason=reason, remedy=f"check `groups` of [issuer.{row.name}]")
        found.add(name)
        if len(found) > MAX_GROUPS:
            remedy = "let the issuer send only the groups that budgets use"
            return Refused(why=Why.GROUPS, reason=f"{row.name} names more than {MAX_GROUPS} groups", remedy=remedy)
    return frozenset(found)


def _overflowed(claims: Mapping[str, Any]) -> bool:
    names = claims.get("_claim_names")
    return bool(claims.get("hasgroups")) or (isinstance(names, dict) and "groups" in names)


def _time(row: Issuer, reason: str, remedy: str = "") -> Refused:
    return Refused(why=Why.TIME, reason=f"the token of {row.name} cannot be believed: {reason}", remedy=remedy)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, int(seconds))} s"
    return f"{int(seconds / 60)} min" if seconds < 7200 else f"{int(seconds / 3600)} h"
