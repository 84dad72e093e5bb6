"""The policy document: TOML in, a ``Policy`` out, or one error that lists everything wrong with it by file and line.

docs/policy.md describes the document for people, policies/schema.json for editors.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import load_toml

from . import fields
from .globs import Glob
from .model import SCHEMA, Budget, Field, Mode, OnFailure, Policy, Share, UnknownModel
from .problems import Problems
from .windows import WindowKind, WindowSpec

MAX_DOCUMENT_BYTES = 1_000_000
MAX_BUDGETS = 10_000

DOCUMENT_KEYS: Final = (
    "schema", "mode", "zone", "week_starts", "on_fault", "on_ledger_error", "unknown_model", "budget",
)  # fmt: skip
BUDGET_KEYS: Final = (
    "amount", "window", "zone", "week_starts", "share", "per", "principal", "project", "model", "provider", "mode",
    "on_exceed", "message",
)  # fmt: skip
ON_EXCEED_KEYS: Final = ("rewrite",)

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
    return parse_policy(text, str(path))


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
    return Policy(
        name=name,
        digest=digest,
        mode=mode,
        on_fault=fields.choice(problems, document, ("on_fault",), OnFailure, OnFailure.OPEN),
        on_ledger_error=fields.choice(problems, document, ("on_ledger_error",), OnFailure, unsaid),
        unknown_model=fields.choice(problems, document, ("unknown_model",), UnknownModel, UnknownModel.CEILING),
        budgets=tuple(_budgets(document.get("budget", {}), problems, zone, week_starts)),
    )


def _budgets(tables: object, problems: Problems, zone: str, week_starts: int) -> Iterator[Budget]:
    if not isinstance(tables, dict):
        problems.add(("budget",), "budget must be tables with a name each; write [budget.day]")
        return
    if len(tables) > MAX_BUDGETS:
        problems.add(("budget",), f"{len(tables):,} budgets; {MAX_BUDGETS:,} is the most")
        return
    for name, table in tables.items():
        path = ("budget", name)
        if not isinstance(table, dict):
            problems.add(path, f"budget.{fields.shown(name)} is not a table; every budget has a name, as in [budget.day]")
            continue
        if _NAME.fullmatch(name) is None:
            problems.add(path, f"budget name {fields.shown(name)}: 1 to 64 letters, digits, _ and -, as in [budget.team-day]")
        yield _budget(name, table, problems, zone, week_starts)


def _budget(name: str, table: dict[str, Any], problems: Problems, zone: str, week_starts: int) -> Budget:
    path = ("budget", name)
    fields.check_keys(problems, table, path, BUDGET_KEYS, f"in [{fields.dotted(path)[:100]}]")
    kind, length_us = fields.window(problems, table, (*path, "window"))
    if "week_starts" in table and kind is not WindowKind.WEEK:
        problems.add((*path, "week_starts"), 'week_starts means something for window = "week" only; leave it out')
    scope = tuple((key, globs) for key in Field if (globs := fields.patterns(problems, table, (*path, key.value))))
    per = fields.per(problems, table, (*path, "per"))
    _check_share(problems, table, path, scope, per)
    return Budget(
        name=name,
        amount_nanousd=fields.amount(problems, table, (*path, "amount")),
        window=WindowSpec(
            kind=kind,
            zone=fields.zone(problems, table, (*path, "zone"), zone),
            week_starts=fields.weekday(problems, table, (*path, "week_starts"), week_starts) if kind is WindowKind.WEEK else 0,
            length_us=length_us,
        ),
        scope=scope,
        per=per,
        mode=fields.choice(problems, table, (*path, "mode"), Mode, Mode.ENFORCE),
        rewrite=_on_exceed(problems, table, path),
        message=fields.message(problems, table, (*path, "message")),
    )


def _check_share(
    problems: Problems,
    table: dict[str, Any],
    path: tuple[str, str],
    scope: tuple[tuple[Field, tuple[Glob, ...]], ...],
    per: tuple[Field, ...],
) -> None:
    """``share`` must be said wherever a reader could take the amount for either."""
    share = fields.choice(problems, table, (*path, "share"), Share, Share.EACH if per else Share.POOL)
    where = f"[{fields.dotted(path)[:100]}]"
    if "share" in table:
        if share is Share.EACH and "per" not in table:
            problems.add((*path, "share"), f'share = "each" in {where} does not say of what; add per = "principal"')
        elif share is Share.POOL and "per" in table:
            problems.add(
                (*path, "share"), f'share = "pool" in {where} is one amount for all: leave out per, or write share = "each"'
            )
        return
    if per:
        problems.add(
            (*path, "per"), f'{where} has per but not share; add share = "each": one such amount for every {per[0].value}'
        )
        return
    for key, globs in scope:
        several = len(globs) > 1 or not globs[0].is_exact
        if key in {Field.PRINCIPAL, Field.PROJECT} and several:
            told = f'add share = "pool" (all of them together), or share = "each" and per = "{key.value}"'
            problems.add((*path, key.value), f"{where} covers several by {key.value} without saying how they share; {told}")


def _on_exceed(problems: Problems, table: dict[str, Any], path: tuple[str, str]) -> tuple[str, ...]:
    """The models to offer instead; none for ``refuse``."""
    value = table.get("on_exceed", "refuse")
    here = (*path, "on_exceed")
    if isinstance(value, dict):
        fields.check_keys(problems, value, here, ON_EXCEED_KEYS, f"in on_exceed of [{fields.dotted(path)[:100]}]")
        if "rewrite" in value:
            return fields.models(problems, value["rewrite"], (*here, "rewrite"))
        if not value:
            problems.add(here, 'on_exceed = {} says nothing; write "refuse" or { rewrite = "a-cheaper-model" }')
    elif value != "refuse":
        told = 'write "refuse" or { rewrite = "a-cheaper-model" }'
        problems.add(here, f"on_exceed = {fields.shown(value)} is not possible; {told}")
    return ()
