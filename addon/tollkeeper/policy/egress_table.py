"""Reading ``[egress]``: what may leave through the proxy besides calls to AI hosts."""

from typing import Any, Final

from tollkeeper.core.toml_lines import KeyPath
from tollkeeper.gate.host_patterns import fault_of

from . import fields
from .model import EgressRules, Others
from .problems import Problems

EGRESS_KEYS: Final = ("others", "allow", "internal", "strict")
MAX_HOSTS: Final = 1_000
MAX_HOST_CHARS: Final = 262
"""``*.``, a name of 253 characters and a port."""


def read(table: object, problems: Problems) -> EgressRules:
    """The rules that a table says; what is wrong with it goes to ``problems``."""
    path = ("egress",)
    if not isinstance(table, dict):
        problems.add(path, 'egress is a table; write [egress] and others = "refuse" below it')
        return EgressRules()
    fields.check_keys(problems, table, path, EGRESS_KEYS, "in [egress]")
    rules = EgressRules(
        others=fields.choice(problems, table, (*path, "others"), Others, Others.TUNNEL),
        allow=_hosts(problems, table, (*path, "allow")),
        internal=_hosts(problems, table, (*path, "internal")),
        strict=fields.flag(problems, table, (*path, "strict")),
    )
    if rules.allow and "others" not in table:
        problems.add((*path, "allow"), 'allow lists what passes while others are refused; write others = "refuse" too')
    return rules


def _hosts(problems: Problems, table: dict[str, Any], path: KeyPath) -> tuple[str, ...]:
    if path[-1] not in table:
        return ()
    found = fields.texts(problems, table[str(path[-1])], path, "a host", MAX_HOSTS, MAX_HOST_CHARS)
    for pattern in found:
        if fault := fault_of(pattern):
            problems.add(path, f"{path[-1]} = {fault}")
    return found
