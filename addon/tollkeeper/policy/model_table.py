"""Reading ``[model.NAME]``: which models may be asked by whom, and how much one request may take."""

from dataclasses import replace
from typing import Any, Final

from tollkeeper.core.amounts import Unit
from tollkeeper.core.clock import US_PER_SECOND

from . import budget_table, fields, ladder, scoping
from .model import Budget, Field, Ladder, Mode, ModelRule, Scope
from .problems import Problems
from .windows import WindowKind, WindowSpec

MODEL_KEYS: Final = (
    *scoping.SCOPE_KEYS, "except", "allow", "deny", "max_cost", "max_output_tokens", "max_effort", "max_parallel",
    "max_per_minute", "share", "per", "min_assurance", "mode", "on_exceed", "message",
)  # fmt: skip
MAX_EXCEPTIONS = 16
_SAYS = ("allow", "deny", "max_cost", "max_output_tokens", "max_effort", "max_parallel", "max_per_minute", "min_assurance")
_MINUTE = WindowSpec(kind=WindowKind.ROLLING, length_us=60 * US_PER_SECOND)
_NOW = WindowSpec(kind=WindowKind.LIFETIME)


def read(name: str, table: dict[str, Any], problems: Problems) -> ModelRule:
    """The rule that a table says; what is wrong with it goes to ``problems``."""
    path = ("model", name)
    where = f"[{fields.dotted(path)[:100]}]"
    fields.check_keys(problems, table, path, MODEL_KEYS, f"in {where}")
    if not table.keys() & set(_SAYS):
        problems.add(path, f"{where} restricts nothing; give it one of {', '.join(_SAYS)}")
    scope = scoping.read(problems, table, path)
    mode = fields.choice(problems, table, (*path, "mode"), Mode, Mode.ENFORCE)
    # A request over a cap is cut to it where that can be done, unless the rule says otherwise.
    on_exceed = ladder.read(problems, table, path) if "on_exceed" in table else Ladder(clamp=True)
    message = fields.message(problems, table, (*path, "message"))
    rule = ModelRule(
        name=name,
        scope=scope,
        exempt=_exempt(problems, table, path),
        allow=fields.patterns(problems, table, (*path, "allow")),
        deny=fields.patterns(problems, table, (*path, "deny")),
        max_cost_nanousd=_max_cost(problems, table, path),
        max_output_tokens=fields.count(problems, table, (*path, "max_output_tokens")),
        max_effort=ladder.effort(problems, table, (*path, "max_effort")),
        on_exceed=on_exceed,
        mode=mode,
        min_assurance=budget_table.min_assurance(problems, table, path),
        message=message,
    )
    return replace(rule, rates=_rates(problems, table, path, rule))


def _exempt(problems: Problems, table: dict[str, Any], path: tuple[str, str]) -> tuple[Scope, ...]:
    value = table.get("except")
    if value is None:
        return ()
    here = (*path, "except")
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_EXCEPTIONS or not all(isinstance(one, dict) and one for one in values):
        problems.add(
            here, f'except names who or what is free of the rule, {MAX_EXCEPTIONS} at most; write except = {{ group = "ml" }}'
        )
        return ()
    found = []
    for one in values:
        fields.check_keys(problems, one, here, scoping.SCOPE_KEYS, f"in except of [{fields.dotted(path)[:100]}]")
        found.append(scoping.read(problems, one, here))
    return tuple(found)


def _max_cost(problems: Problems, table: dict[str, Any], path: tuple[str, str]) -> int | None:
    if "max_cost" not in table:
        return None
    here = (*path, "max_cost")
    unit, found = fields.money(problems, table["max_cost"], here)
    if unit is not Unit.USD:
        problems.add(here, 'max_cost is in dollars; write it like "0.50 USD"')
    return found


def _rates(problems: Problems, table: dict[str, Any], path: tuple[str, str], rule: ModelRule) -> tuple[Budget, ...]:
    """``max_parallel`` and ``max_per_minute`` as budgets: counted for each principal unless the rule says otherwise."""
    per: tuple[Field, ...]
    per, per_labels = fields.per(problems, table, (*path, "per"))
    if "share" in table:
        budget_table.check_share(problems, table, path, rule.scope, bool(per or per_labels))
    elif not (per or per_labels):
        per = (Field.PRINCIPAL,)
    found = []
    for key, unit, window in (("max_parallel", Unit.PARALLEL, _NOW), ("max_per_minute", Unit.REQUESTS, _MINUTE)):
        most = fields.count(problems, table, (*path, key))
        if most is not None:
            found.append(
                Budget(
                    name=f"{rule.name}/{key}",
                    rule=f"model.{rule.name}",
                    amount_nanousd=most,
                    unit=unit,
                    window=window,
                    scope=rule.scope.fields,
                    labels=rule.scope.labels,
                    when=rule.scope.when,
                    per=per,
                    per_labels=per_labels,
                    mode=rule.mode,
                    message=rule.message,
                )
            )
    return tuple(found)
