"""Reading ``[budget.NAME]``: an amount over a window, for whom, and what happens when it is used up."""

from typing import Any, Final, NamedTuple

from tollkeeper.core.amounts import Unit
from tollkeeper.core.principal import Assurance
from tollkeeper.core.toml_lines import KeyPath

from . import fields, ladder, scoping
from .model import Budget, Field, Mode, Scope, Share
from .problems import Problems
from .windows import ENDLESS, WindowKind, WindowSpec

BUDGET_KEYS: Final = (
    "amount", "window", "zone", "week_starts", "share", "per", *scoping.SCOPE_KEYS, "min_assurance", "mode", "on_exceed", "warn_at",
    "rollover", "message",
)  # fmt: skip

WARN_AT: Final = (75, 90)
"""Percent of an amount at which a client is told, where a budget does not say."""

_OF_WINDOW = {WindowKind.SESSION: Field.SESSION, WindowKind.RUN: Field.RUN}


class Defaults(NamedTuple):
    """What the document says for budgets that do not say it themselves."""

    zone: str
    week_starts: int
    mode: Mode


def read(name: str, table: dict[str, Any], problems: Problems, defaults: Defaults) -> Budget:
    """The budget that a table says; what is wrong with it goes to ``problems``."""
    path = ("budget", name)
    fields.check_keys(problems, table, path, BUDGET_KEYS, f"in [{fields.dotted(path)[:100]}]")
    kind, length_us = fields.window(problems, table, (*path, "window"))
    if "week_starts" in table and kind is not WindowKind.WEEK:
        problems.add((*path, "week_starts"), 'week_starts means something for window = "week" only; leave it out')
    scope = scoping.read(problems, table, path)
    per, per_labels = fields.per(problems, table, (*path, "per"))
    check_share(problems, table, path, scope, bool(per or per_labels))
    unit, amount = fields.amount(problems, table, (*path, "amount"))
    if (by_window := _OF_WINDOW.get(kind)) is not None and by_window not in per:
        per = tuple(field for field in Field if field in {*per, by_window})
    mode = fields.choice(problems, table, (*path, "mode"), Mode, Mode.ENFORCE)
    on_exceed = ladder.read(problems, table, path)
    if unit not in {Unit.USD, Unit.TOKENS} and on_exceed.clamp:
        problems.add((*path, "on_exceed"), "an answer can be cut to fit dollars or tokens only; leave out clamp")
    return Budget(
        name=name,
        amount_nanousd=amount,
        unit=unit,
        window=WindowSpec(
            kind=kind,
            zone="UTC" if kind in ENDLESS else fields.zone(problems, table, (*path, "zone"), defaults.zone),
            week_starts=fields.weekday(problems, table, (*path, "week_starts"), defaults.week_starts)
            if kind is WindowKind.WEEK
            else 0,
            length_us=length_us,
        ),
        scope=scope.fields,
        labels=scope.labels,
        when=scope.when,
        per=per,
        per_labels=per_labels,
        mode=mode,
        on_exceed=on_exceed,
        warn_at=fields.percents(problems, table, (*path, "warn_at"), WARN_AT),
        rollover_most=_rollover(problems, table, path, kind, unit, amount),
        min_assurance=min_assurance(problems, table, path),
        message=fields.message(problems, table, (*path, "message")),
    )


def min_assurance(problems: Problems, table: dict[str, Any], path: KeyPath) -> Assurance | None:
    """The weakest identity that may use what a rule gives; None when any may."""
    if "min_assurance" not in table:
        return None
    return fields.choice(problems, table, (*path, "min_assurance"), Assurance, Assurance.VERIFIED)


def check_share(problems: Problems, table: dict[str, Any], path: KeyPath, scope: Scope, is_divided: bool) -> None:
    """``share`` must be said wherever a reader could take the amount for either."""
    share = fields.choice(problems, table, (*path, "share"), Share, Share.EACH if is_divided else Share.POOL)
    where = f"[{fields.dotted(path)[:100]}]"
    if "share" in table:
        if share is Share.EACH and "per" not in table:
            problems.add((*path, "share"), f'share = "each" in {where} does not say of what; add per = "principal"')
        elif share is Share.POOL and "per" in table:
            problems.add(
                (*path, "share"), f'share = "pool" in {where} is one amount for all: leave out per, or write share = "each"'
            )
        return
    if is_divided:
        divided = table["per"] if isinstance(table["per"], str) else table["per"][0]
        problems.add((*path, "per"), f'{where} has per but not share; add share = "each": one such amount for every {divided}')
        return
    if (key := scoping.shared_by(scope)) is not None:
        by = key if key in {"principal", "project"} else "principal"
        told = f'add share = "pool" (all of them together), or share = "each" and per = "{by}"'
        problems.add((*path, key), f"{where} covers several by {key} without saying how they share; {told}")


def _rollover(problems: Problems, table: dict[str, Any], path: KeyPath, kind: WindowKind, unit: Unit, amount: int | None) -> int:
    value = table.get("rollover", False)
    here = (*path, "rollover")
    if value is False:
        return 0
    if not kind.is_calendar:
        problems.add(here, "rollover carries over to the next calendar window, and this one has none; leave it out")
        return 0
    if value is True:
        return amount or 0
    of, most = fields.money(problems, value, here)
    if of is not unit and isinstance(value, str):
        problems.add(here, f"rollover = {fields.shown(value)} is not counted as the amount is; write it in {unit.value}")
    return most
