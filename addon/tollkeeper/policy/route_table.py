"""Reading ``[route.NAME]``: where calls go instead of where they were sent."""

from typing import Any, Final

from . import fields, ladder, scoping
from .model import Mode, Route, Split
from .problems import Problems

ROUTE_KEYS: Final = (*scoping.SCOPE_KEYS, "to", "fallback", "anytime", "mode")
PERCENT: Final = "percent"


def read(name: str, table: dict[str, Any], problems: Problems) -> Route:
    """The route that a table says; what is wrong with it goes to ``problems``."""
    path = ("route", name)
    where = f"[{fields.dotted(path)[:100]}]"
    fields.check_keys(problems, table, path, ROUTE_KEYS, f"in {where}")
    if not table.keys() & {"to", "fallback"}:
        problems.add(path, f'{where} leads nowhere; write to = "a-model", or fallback = ["another-model"]')
    return Route(
        name=name,
        scope=scoping.read(problems, table, path),
        splits=_splits(problems, table, path),
        fallback=ladder.targets(problems, table["fallback"], (*path, "fallback")) if "fallback" in table else (),
        mode=fields.choice(problems, table, (*path, "mode"), Mode, Mode.ENFORCE),
        anytime=fields.flag(problems, table, (*path, "anytime")),
    )


def _splits(problems: Problems, table: dict[str, Any], path: tuple[str, str]) -> tuple[Split, ...]:
    """The ways out; what their shares leave open stays as it was sent."""
    value = table.get("to")
    if value is None:
        return ()
    here = (*path, "to")
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= ladder.MAX_TARGETS:
        problems.add(here, f"to names {len(values)} ways; 1 to {ladder.MAX_TARGETS} are possible")
        return ()
    found = []
    for one in values:
        if (target := ladder.target(problems, one, here, more=(PERCENT,))) is None:
            continue
        percent = fields.count(problems, one, (*here, PERCENT), most=100) if isinstance(one, dict) else None
        found.append(Split(target=target, percent=100 if percent is None else percent))
    if sum(split.percent for split in found) > 100:
        problems.add(here, f"the shares in {fields.dotted(here)} add up to more than 100 percent; give each its percent")
    return tuple(found)
