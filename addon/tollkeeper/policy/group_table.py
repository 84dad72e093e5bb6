"""Reading ``[groups]``, and who is in them: groups that the policy itself gives to people, beside those that their issuer names."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tollkeeper.core.principal import Assurance, Principal, account

from . import fields
from .model import Policy
from .problems import Problems

MAX_GROUPS: Final = 1_000
MAX_MEMBERS: Final = 10_000
MAX_NAME_CHARS: Final = 100
MAX_MEMBER_CHARS: Final = 512
_UNPROVEN: Final = frozenset({Assurance.CLAIMED, Assurance.NONE})


def read(table: object, problems: Problems) -> Mapping[str, frozenset[str]]:
    """Member to groups; what is wrong with the table goes to ``problems``."""
    path = ("groups",)
    if not isinstance(table, dict):
        problems.add(path, 'groups is a table; write [groups] and research = ["ada@example.com"] below it')
        return {}
    if len(table) > MAX_GROUPS:
        problems.add(path, f"{len(table):,} groups; {MAX_GROUPS:,} is the most")
        return {}
    found: dict[str, set[str]] = {}
    for name, members in table.items():
        for member in _members(name, members, problems):
            found.setdefault(member, set()).add(name)
    return {member: frozenset(groups) for member, groups in found.items()}


def _members(name: str, members: Any, problems: Problems) -> tuple[str, ...]:
    path = ("groups", name)
    if not name.strip() or not name.isprintable() or "," in name or len(name) > MAX_NAME_CHARS:
        problems.add(path, f"group {fields.shown(name)}: 1 to {MAX_NAME_CHARS} printable characters without a comma")
        return ()
    return fields.texts(problems, members, path, "a member", MAX_MEMBERS, MAX_MEMBER_CHARS)


def in_groups(policy: Policy, principal: Principal) -> Principal:
    """The principal with the groups that the policy gives it: by its name, or by ``NAME at ISSUER`` where names are not unique.

    Whoever only claims to be somebody is in none.
    """
    if not policy.groups or principal.assurance in _UNPROVEN:
        return principal
    nobody: frozenset[str] = frozenset()
    given = policy.groups.get(principal.subject, nobody) | policy.groups.get(account(principal.subject, principal.issuer), nobody)
    return replace(principal, groups=principal.groups | given) if given - principal.groups else principal
