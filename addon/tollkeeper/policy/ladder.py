"""Reading ``on_exceed``: what happens, rung by rung, to a call without room."""

import re
from typing import Any, Final

from tollkeeper.core.decision import Target
from tollkeeper.core.toml_lines import KeyPath

from . import fields
from .model import EFFORTS, Ladder
from .problems import Problems

MAX_TARGETS = 16
ON_EXCEED_KEYS: Final = ("rewrite", "downgrade", "clamp", "anytime")
CLAMP_KEYS: Final = ("min_output_tokens", "effort")
TARGET_KEYS: Final = ("model", "provider", "host", "key", "timeout")
WORDS: Final = ("warn", "clamp", "refuse")
ORDER: Final = ("warn", "clamp", "downgrade", "refuse")
KEY_PATTERN: Final = r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|keyring:[^/\s]{1,100}/[^\s]{1,100}"
TIMEOUT_PATTERN: Final = r"[1-9][0-9]{0,5} *(ms|s)"

_KEY = re.compile(KEY_PATTERN)
_TIMEOUT = re.compile(TIMEOUT_PATTERN)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")
_TELL = 'write "refuse" or { rewrite = "a-cheaper-model" }'


def read(problems: Problems, table: dict[str, Any], path: KeyPath) -> Ladder:
    """The ladder of a budget or rule; ``refuse`` when nothing is said."""
    here = (*path, "on_exceed")
    value = table.get("on_exceed", "refuse")
    where = f"in on_exceed of [{fields.dotted(path)[:100]}]"
    rungs = value if isinstance(value, list) else [value]
    if not rungs:
        problems.add(here, f"on_exceed = [] says nothing; {_TELL}")
    found: dict[str, Any] = {}
    said: list[str] = []
    for rung in rungs[: len(ORDER)]:
        said += _rung(problems, rung, here, where, found)
    if len(rungs) > len(ORDER):
        problems.add(here, f"on_exceed has {len(rungs)} rungs; {len(ORDER)} is the most")
    is_soft = bool(said) and said[-1] == "warn"
    positions = [ORDER.index(name) for name in (said[:-1] if is_soft else said)]
    if len(set(said)) < len(said) or positions != sorted(positions) or "refuse" in said[:-1]:
        more = 'nothing is tried after "refuse"' if "refuse" in said[:-1] else '"warn" may stand last instead of "refuse"'
        problems.add(here, f"the rungs of on_exceed come once each, in this order: {', '.join(ORDER)}; {more}")
    return Ladder(is_soft=is_soft, **found)


def target(problems: Problems, value: object, path: KeyPath, *, more: tuple[str, ...] = ()) -> Target | None:
    """One model to ask instead: its name, or a table that says where it is asked too. ``more`` are keys read elsewhere."""
    if isinstance(value, str):
        model = models(problems, value, path)
        return Target(model=model[0]) if model else None
    if not isinstance(value, dict):
        problems.add(
            path, f"{path[-1]} = {fields.shown(value)} is not a model: text of 1 to {fields.MAX_NAME_CHARS} printable characters"
        )
        return None
    fields.check_keys(problems, value, path, (*TARGET_KEYS, *more), f"in {path[-1]}")
    if not value.keys() & {"model", "provider", "host"}:
        problems.add(path, f'{path[-1]} names no model; write {{ model = "a-cheaper-model" }}')
        return None
    named = models(problems, value["model"], path) if "model" in value else ()
    return Target(
        model=named[0] if named else None,
        provider=_word(problems, value, path, "provider", re.compile(r"[a-z0-9_.-]{1,64}"), '"openai"'),
        host=_word(problems, value, path, "host", _HOST, '"llm.example.com"').lower(),
        key=_word(
            problems, value, path, "key", _KEY, '"env:OPENAI_API_KEY" or "keyring:tollkeeper/openai": a name, never the key'
        ),
        timeout_ms=_timeout(problems, value, path),
    )


def targets(problems: Problems, value: object, path: KeyPath) -> tuple[Target, ...]:
    """One target or a chain of them, best first."""
    values = value if isinstance(value, list) else [value]
    if not values:
        problems.add(path, f"{path[-1]} = [] names nothing; leave it out, or name a model")
    if len(values) > MAX_TARGETS:
        problems.add(path, f"{path[-1]} has {len(values)} values; {MAX_TARGETS} is the most")
        return ()
    found = [one for item in values if (one := target(problems, item, path)) is not None]
    return tuple(dict.fromkeys(found))


def models(problems: Problems, value: object, path: KeyPath) -> tuple[str, ...]:
    """One model's name; not a pattern."""
    found = fields.texts(problems, value, path, "a model", 1, fields.MAX_NAME_CHARS)
    for model in found:
        if "*" in model:
            problems.add(path, f"{path[-1]} = {fields.shown(model)} is a pattern; name the one model to ask instead")
    return found


def effort(problems: Problems, table: dict[str, Any], path: KeyPath) -> str:
    """A word for thinking effort; empty when not said."""
    value = table.get(str(path[-1]), "")
    if value == "" or value in EFFORTS:
        return str(value)
    problems.add(path, f"{path[-1]} = {fields.shown(value)} is not possible{fields.meant(str(value), EFFORTS)}")
    return ""


def _rung(problems: Problems, rung: object, path: KeyPath, where: str, found: dict[str, Any]) -> list[str]:
    """Take one rung into ``found``; its names in the order they are tried."""
    if isinstance(rung, str) and rung in WORDS:
        if rung == "clamp":
            found["clamp"] = True
        return [rung]
    if not isinstance(rung, dict):
        problems.add(path, f"on_exceed = {fields.shown(rung)} is not possible; {_TELL}")
        return []
    fields.check_keys(problems, rung, path, ON_EXCEED_KEYS, where)
    if not rung:
        problems.add(path, f"on_exceed = {{}} says nothing; {_TELL}")
    said = []
    if "clamp" in rung:
        said.append("clamp")
        _clamp(problems, rung["clamp"], (*path, "clamp"), where, found)
    for key in ("rewrite", "downgrade"):
        if key in rung:
            said.append("downgrade")
            found["downgrade"] = targets(problems, rung[key], (*path, key))
    if "anytime" in rung:
        found["anytime"] = fields.flag(problems, rung, (*path, "anytime"))
    return said


def _clamp(problems: Problems, value: object, path: KeyPath, where: str, found: dict[str, Any]) -> None:
    if isinstance(value, bool):
        found["clamp"] = value
        return
    if not isinstance(value, dict):
        problems.add(path, f"clamp = {fields.shown(value)} is not possible; write true, or {{ min_output_tokens = 1024 }}")
        return
    fields.check_keys(problems, value, path, CLAMP_KEYS, where)
    found["clamp"] = True
    if (least := fields.count(problems, value, (*path, "min_output_tokens"), most=1_000_000)) is not None:
        found["least_output_tokens"] = least
    found["effort"] = effort(problems, value, (*path, "effort"))


def _word(problems: Problems, table: dict[str, Any], path: KeyPath, key: str, form: re.Pattern[str], like: str) -> str:
    value = table.get(key, "")
    if value == "" or (isinstance(value, str) and form.fullmatch(value)):
        return str(value)
    # What stands there may be a key that somebody pasted: it is never repeated.
    problems.add((*path, key), f"{key} is not possible; write it like {like}")
    return ""


def _timeout(problems: Problems, table: dict[str, Any], path: KeyPath) -> int | None:
    value = table.get("timeout")
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        problems.add((*path, "timeout"), f'timeout = {fields.shown(value)} is not a time; write it like "20s" or "500ms"')
        return None
    return int(match.string[: match.start(1)]) * (1_000 if match[1] == "s" else 1)
