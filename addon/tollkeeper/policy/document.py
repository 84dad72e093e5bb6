"""The policy document: TOML in, a ``Policy`` out, or one error that lists everything wrong with it by file and line.

docs/policy.md describes the document for people, policies/schema.json for editors.
"""

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import load_toml

from . import alert_table, budget_table, egress_table, fields, group_table, model_table, route_table, scoping
from .budget_table import BUDGET_KEYS
from .facts import HEADER
from .headers import MAX_HEADERS
from .ladder import ON_EXCEED_KEYS
from .matching import matcher_of
from .model import (
    SCHEMA,
    Budget,
    HoldSize,
    Mode,
    ModelRule,
    OnFailure,
    OnNoIdentity,
    OnRewriteError,
    PlanTraffic,
    Policy,
    RefusalStyle,
    Route,
    UnknownModel,
    Websockets,
)
from .model_table import MODEL_KEYS
from .problems import Problems
from .route_table import ROUTE_KEYS

__all__ = ["BUDGET_KEYS", "DOCUMENT_KEYS", "MODEL_KEYS", "ON_EXCEED_KEYS", "ROUTE_KEYS", "load_policy", "parse_policy"]

MAX_DOCUMENT_BYTES = 4_000_000
MAX_BUDGETS = 10_000
MAX_MODEL_RULES = 10_000
MAX_ROUTES = 1_000
MAX_ALERTS = 32
MAX_CONDITIONS = 100
"""Each costs about 10 µs for every new kind of call (measured), so that a hundred are a millisecond."""

DOCUMENT_KEYS: Final = (
    "schema", "mode", "zone", "week_starts", "on_fault", "on_ledger_error", "on_no_identity", "unknown_model", "websockets",
    "plan_traffic", "hold", "on_rewrite_error", "refusal", "mid_stream_stop", "steering", "egress", "groups",
    "budget", "model", "route", "alert",
)  # fmt: skip

NAME_PATTERN: Final = r"[A-Za-z0-9_-]{1,64}"
_NAME = re.compile(NAME_PATTERN)

OBSERVE_ALL: Final = Policy(digest=sha256(b"").hexdigest())
"""The policy of a machine without a document: everything observed, nothing blocked. An empty document means the same."""


def load_policy(path: Path) -> Policy:
    """The policy in the file at ``path``. Raises ``ConfigError`` naming file and line of every problem."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) <= MAX_DOCUMENT_BYTES:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02x})") from None
        text = " " * len(data)
    policy = parse_policy(text, str(path))
    matcher_of(policy)  # 0.2 s for ten thousand rules: before it is in force, not at the first call
    return policy


def parse_policy(text: str, name: str) -> Policy:
    """The policy that ``text`` says; ``name`` is the file it came from, for messages.

    Raises ``ConfigError``: of TOML the first error, of meaning every one, as ``file:line: what is wrong; what to write``.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ConfigError(f"{name}: longer than {MAX_DOCUMENT_BYTES:,} bytes, the most a policy may have")
    document, lines = load_toml(Path(name), text)
    problems = Problems(name, lines)
    policy = _policy(document, problems, Path(name).name, sha256(data).hexdigest())
    problems.raise_any()
    return policy


def _policy(document: dict[str, Any], problems: Problems, name: str, digest: str) -> Policy:
    fields.check_keys(problems, document, (), DOCUMENT_KEYS, "at the top level")
    schema = document.get("schema", SCHEMA)
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        problems.add(
            ("schema",), f"schema = {fields.shown(schema)} is not known here; write schema = {SCHEMA}, or update tollkeeper"
        )
    mode = fields.choice(problems, document, ("mode",), Mode, Mode.OBSERVE)
    zone = fields.zone(problems, document, ("zone",), "UTC")
    week_starts = fields.weekday(problems, document, ("week_starts",), 0)
    # A ledger that fails cannot hold money: an enforcing policy that says nothing about it must not turn into no policy.
    unsaid = OnFailure.CLOSED if mode is Mode.ENFORCE else OnFailure.OPEN
    defaults = budget_table.Defaults(zone, week_starts, mode)
    budgets = _tables(
        document, problems, "budget", MAX_BUDGETS, lambda name, table: budget_table.read(name, table, problems, defaults)
    )
    rules = _tables(document, problems, "model", MAX_MODEL_RULES, lambda name, table: model_table.read(name, table, problems))
    routes = _tables(document, problems, "route", MAX_ROUTES, lambda name, table: route_table.read(name, table, problems))
    policy = Policy(
        name=name,
        digest=digest,
        mode=mode,
        on_fault=fields.choice(problems, document, ("on_fault",), OnFailure, OnFailure.OPEN),
        on_ledger_error=fields.choice(problems, document, ("on_ledger_error",), OnFailure, unsaid),
        on_no_identity=fields.choice(problems, document, ("on_no_identity",), OnNoIdentity, OnNoIdentity.OPEN),
        unknown_model=fields.choice(problems, document, ("unknown_model",), UnknownModel, UnknownModel.CEILING),
        websockets=fields.choice(problems, document, ("websockets",), Websockets, Websockets.METER),
        plan_traffic=fields.choice(problems, document, ("plan_traffic",), PlanTraffic, PlanTraffic.APART),
        hold=fields.choice(problems, document, ("hold",), HoldSize, HoldSize.ESTIMATE),
        on_rewrite_error=fields.choice(problems, document, ("on_rewrite_error",), OnRewriteError, OnRewriteError.SURFACE),
        refusal=fields.choice(problems, document, ("refusal",), RefusalStyle, RefusalStyle.ERROR),
        mid_stream_stop=fields.flag(problems, document, ("mid_stream_stop",)),
        steering=fields.flag(problems, document, ("steering",)),
        egress=egress_table.read(document.get("egress", {}), problems),
        groups=group_table.read(document.get("groups", {}), problems),
        budgets=tuple(budgets),
        models=tuple(rules),
        routes=tuple(routes),
        alerts=tuple(
            _tables(document, problems, "alert", MAX_ALERTS, lambda name, table: alert_table.read(name, table, problems))
        ),
        headers=_headers(budgets, rules, routes),
    )
    if len(policy.headers) > MAX_HEADERS:
        problems.add((), f"rules go by {len(policy.headers)} request headers; {MAX_HEADERS} is the most")
    conditions = conditions_of(policy)
    if len(conditions) > MAX_CONDITIONS:
        problems.add((), f"{len(conditions)} different conditions; {MAX_CONDITIONS} is the most")
    return policy


def conditions_of(policy: Policy) -> tuple[str, ...]:
    """Every different CEL condition of a policy, in the order of the document."""
    scopes = [scope for rule in policy.models for scope in (rule.scope, *rule.exempt)] + [route.scope for route in policy.routes]
    found = [*(budget.when for budget in policy.budgets), *(scope.when for scope in scopes)]
    return tuple(dict.fromkeys(when for when in found if when))


def _headers(budgets: list[Budget], rules: list[ModelRule], routes: list[Route]) -> frozenset[str]:
    labels = [budget.labels for budget in budgets]
    labels += [scope.labels for rule in rules for scope in (rule.scope, *rule.exempt)]
    labels += [route.scope.labels for route in routes]
    divided = (name for budget in budgets for name in budget.per_labels if name.startswith(HEADER))
    return frozenset().union(*map(scoping.headers_of, labels), (name.removeprefix(HEADER) for name in divided))


def _tables[T](
    document: dict[str, Any], problems: Problems, kind: str, most: int, read: Callable[[str, dict[str, Any]], T]
) -> list[T]:
    """The named tables of one kind, in the order of the document."""
    return list(_each(document.get(kind, {}), problems, kind, most, read))


def _each[T](tables: object, problems: Problems, kind: str, most: int, read: Callable[[str, dict[str, Any]], T]) -> Iterator[T]:
    like = {"budget": "day", "model": "interns", "route": "opus", "alert": "team"}[kind]
    if not isinstance(tables, dict):
        problems.add((kind,), f"{kind} must be tables with a name each; write [{kind}.{like}]")
        return
    if len(tables) > most:
        problems.add((kind,), f"{len(tables):,} {kind}s; {most:,} is the most")
        return
    for name, table in tables.items():
        path = (kind, name)
        if not isinstance(table, dict):
            problems.add(path, f"{kind}.{fields.shown(name)} is not a table; every {kind} has a name, as in [{kind}.{like}]")
            continue
        if _NAME.fullmatch(name) is None:
            problems.add(path, f"{kind} name {fields.shown(name)}: 1 to 64 letters, digits, _ and -, as in [{kind}.team-day]")
        yield read(name, table)
