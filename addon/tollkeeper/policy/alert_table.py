"""Reading ``[alert.NAME]``: who is told when a budget passes a threshold, heads over its amount, or a session costs unusually much."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from . import fields
from .alerting import AlertRule, Reason, Way
from .globs import Glob
from .ladder import KEY_PATTERN
from .problems import Problems

ALERT_KEYS: Final = ("to", "url", "secret", "command", "on", "budget")
MAX_ARGUMENTS: Final = 32
_SECRET = re.compile(KEY_PATTERN)


def read(name: str, table: dict[str, Any], problems: Problems) -> AlertRule:
    """The channel that a table says; what is wrong with it goes to ``problems``."""
    path = ("alert", name)
    where = f"[{fields.dotted(path)[:100]}]"
    fields.check_keys(problems, table, path, ALERT_KEYS, f"in {where}")
    if "to" not in table:
        problems.add(path, f'{where} says nobody to tell; write to = "webhook", "slack", "desktop" or "command"')
    way = fields.choice(problems, table, (*path, "to"), Way, Way.DESKTOP)
    url, secret = _place(problems, table, (*path, "url")), _place(problems, table, (*path, "secret"))
    if way in {Way.WEBHOOK, Way.SLACK} and "url" not in table:
        problems.add(path, f'{where} has no address; write url = "https://…" or url = "env:NAME"')
    if secret and not _SECRET.fullmatch(secret):
        problems.add((*path, "secret"), 'secret says where the secret is kept: "env:NAME" or "keyring:SERVICE/NAME"')
    command = table.get("command", [])
    is_command = isinstance(command, list) and 0 < len(command) <= MAX_ARGUMENTS and all(isinstance(one, str) for one in command)
    if way is Way.COMMAND and not is_command:
        problems.add(
            (*path, "command"),
            f'command is a list of a program and its arguments; write command = ["notify", "--budget"] in {where}',
        )
    on = table.get("on", [reason.value for reason in Reason])
    reasons = [on] if isinstance(on, str) else on if isinstance(on, list) else []
    known = {reason.value for reason in Reason}
    if not reasons:
        problems.add((*path, "on"), f"on = {fields.shown(on)} is not possible; known: {', '.join(sorted(known))}")
    for reason in reasons:
        if reason not in known:
            problems.add((*path, "on"), f"on = {fields.shown(reason)} is not possible{fields.meant(str(reason), sorted(known))}")
    reasons = [reason for reason in reasons if reason in known]
    budgets = table.get("budget", [])
    names = [budgets] if isinstance(budgets, str) else budgets if isinstance(budgets, list) else []
    return AlertRule(
        name=name,
        way=way,
        url=url,
        secret=secret,
        command=tuple(command) if is_command else (),
        on=tuple(Reason(reason) for reason in reasons),
        budgets=tuple(Glob(one) for one in names if isinstance(one, str)),
    )


def _place(problems: Problems, table: dict[str, Any], path: tuple[str, ...]) -> str:
    value = table.get(path[-1], "")
    if not isinstance(value, str):
        problems.add(path, f"{path[-1]} = {fields.shown(value)} is not possible; it is text")
        return ""
    if value.startswith(("env:", "keyring:")) and _SECRET.fullmatch(value):
        return value
    if path[-1] == "url" and value:
        parts = urlsplit(value)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
            problems.add(path, 'url is not possible; write "https://host/path", or http to this machine')
            return ""
    return value
