"""``tollkeeper statusline``: one line for Claude Code, tmux or a prompt. Standard library only, never an error, never the network.

It is drawn several times a second, so it reads only what is ready. Budgets are worked out by a process of its own in the background
(``refresh``), at most once in 15 seconds, and left in ``statusline.ready`` of the home, a line for each: reading JSON
would take a third of the time that the whole line has (``json`` needs ``re``).
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from tollkeeper.ledger.glance import Glance

    class Ready(TypedDict):
        """A budget worked out before: what to look up of it now."""

        name: str
        key: str
        start: int
        until_s: int | None
        amount: int


READY = "statusline.ready"
REFRESH_AFTER_S = 15
MAX_INPUT_BYTES = 262_144
CURVE = "▁▂▃▄▅▆▇█"
PLAIN_CURVE = ".:-=+*#@"
NEAR_PERCENT = 80


def main(arguments: list[str]) -> int:
    """Print the line. Always 0: a status line that fails is a blank one."""
    try:
        if arguments == ["--refresh"]:
            refresh()
            return 0
        options = _options(arguments)
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        sys.stdout.write(line(options, _session_from_input() or options.get("session", "")) + "\n")
        sys.stdout.flush()
    except Exception:  # noqa: S110 — nobody reads an error here; `tollkeeper doctor` tells what is wrong
        pass
    return 0


def line(options: dict[str, str], session: str, now_s: float | None = None) -> str:
    """The line for a conversation (empty: none). ``options`` are those of the command line, without their dashes."""
    from tollkeeper.ledger.glance import UNREADABLE, glance, is_busy

    plain = "no-emoji" in options
    home = _home()
    path = os.path.join(home, "ledger.db")  # noqa: PTH118 — pathlib costs 5 ms
    if not os.path.exists(path):  # noqa: PTH110
        return "" if session == "" else _sign("not metered", plain)
    now = time.time() if now_s is None else now_s
    at_s, budgets = read_ready(os.path.join(home, READY))  # noqa: PTH118
    budgets = [budget for budget in budgets if budget["until_s"] is None or budget["until_s"] > now]
    try:
        seen = glance(
            path,
            now=int(now * 1_000_000),
            midnight=_midnight(now) * 1_000_000,
            session=session,
            buckets=[(budget["key"], budget["start"]) for budget in budgets],
        )
    except UNREADABLE as error:
        return _sign("ledger busy" if is_busy(error) else "ledger cannot be read", plain)
    if seen.is_behind or now - at_s > REFRESH_AFTER_S:
        _refresh_soon(home)
    return _cut(_shown(options, seen, budgets, session, plain), int(options.get("width", "0") or 0))


def _shown(options: dict[str, str], seen: "Glance", budgets: "list[Ready]", session: str, plain: bool) -> str:
    budget, percent = _budget(seen, budgets)
    rate = sum(seen.curve)
    parts = {
        "session": f"{_money(seen.session_nanousd, seen.unknown_session)} session" if session else "",
        "today": f"{_money(seen.today_nanousd, seen.unknown_today)} today",
        "curve": _curve(seen.curve, plain) if rate else "",
        "rate": f"{_money(rate)}/h" if rate else "",
        "budget": budget,
        "open": f"{seen.open_calls} open" if seen.open_calls else "",
        "state": _state(seen, session, percent, plain),
    }
    if template := options.get("template"):
        for name, value in parts.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    lead = "" if plain else "⏣ "
    separator = " | " if plain else " · "
    burn = " ".join(filter(None, (parts["curve"], parts["rate"])))
    return lead + separator.join(filter(None, (parts["session"], parts["today"], burn, budget, parts["state"])))


def _budget(seen: "Glance", budgets: "list[Ready]") -> tuple[str, int]:
    """The budget nearest to its end, and how much of it is used in percent."""
    best, most = "", -1
    for budget, (spent, held) in zip(budgets, seen.budgets, strict=True):
        amount = budget["amount"]
        percent = 100 * (spent + held) // amount if amount > 0 else 100
        if percent > most:
            best, most = f"{budget['name']} {_money(spent)}/{_money(amount)} {percent}%", percent
    return best, most


def _state(seen: "Glance", session: str, percent: int, plain: bool) -> str:
    if session and not seen.session_calls and not seen.open_calls and not os.environ.get("TOLLKEEPER_ACTIVE"):
        return _sign("not metered", plain)
    if percent >= 100:
        return "x used up" if plain else "✗ used up"
    if percent >= NEAR_PERCENT:
        return "! near"
    return "ok" if percent >= 0 else ""


def _money(nanousd: int | None, unknown: int = 0) -> str:
    from tollkeeper.core.money import format_usd

    if unknown > 0 and not nanousd:
        return format_usd(None)  # what is not known is never shown as nought
    return f"{format_usd(nanousd)}{'+–' if unknown > 0 else ''}"


def _curve(values: list[int], plain: bool) -> str:
    steps = PLAIN_CURVE if plain else CURVE
    top = max(values)
    return "".join(steps[min(len(steps) - 1, value * len(steps) // (top + 1))] for value in values)


def _sign(text: str, plain: bool) -> str:
    return f"! {text}" if plain else f"⏣ ! {text}"


def _cut(text: str, width: int) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if 0 < width < len(text):
        return text[: width - 1] + "…"
    return text


def read_ready(path: str) -> "tuple[int, list[Ready]]":
    """When the budgets were worked out (seconds since the epoch), and which; (0, none) when that cannot be read."""
    found: list[Ready] = []
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            at_s = int(file.readline())
            for row in file:
                name, key, start, until_s, amount = row.rstrip("\n").split("\t")
                until = int(until_s) if until_s else None
                found.append({"name": name, "key": key, "start": int(start), "until_s": until, "amount": int(amount)})
    except (OSError, ValueError):
        return 0, []
    return at_s, found


def written_ready(at_s: int, budgets: "list[Ready]") -> str:
    """What ``read_ready`` reads."""
    rows = [
        (one["name"], one["key"], one["start"], "" if one["until_s"] is None else one["until_s"], one["amount"])
        for one in budgets
    ]
    plain = ["\t".join("".join(letter if letter.isprintable() else " " for letter in str(word)) for word in row) for row in rows]
    return "".join(f"{line}\n" for line in (str(at_s), *plain))


def _session_from_input() -> str:
    """``session_id`` of the JSON that Claude Code writes to its status line's standard input; empty where there is none."""
    import select

    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    try:
        ready, _, _ = select.select([sys.stdin], [], [], 0.005)
    except (OSError, ValueError):
        return ""
    text = os.read(sys.stdin.fileno(), MAX_INPUT_BYTES) if ready else b""
    before, named, after = text.partition(b'"session_id"')
    if not named:
        return ""
    _, colon, value = after[:200].lstrip().partition(b":")
    pieces = value.lstrip().split(b'"', 2)
    is_plain = colon and len(pieces) == 3 and not pieces[0] and pieces[1].replace(b"-", b"").isalnum()
    if is_plain and before.count(b"{") == 1:
        return pieces[1].decode("ascii", "replace")  # as Claude Code writes it, nearly always; else it is read as JSON has it
    import json

    try:
        said = json.loads(text)
    except ValueError:
        return ""
    found = said.get("session_id", "") if isinstance(said, dict) else ""
    return found if isinstance(found, str) else ""


def _options(arguments: list[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value``; what is not known is passed over."""
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, given, value = rest.pop(0).removeprefix("--").partition("=")
        if name == "no-emoji":
            found[name] = "1"
        elif name in {"template", "width", "session"}:
            found[name] = value if given else rest.pop(0) if rest else ""
    if not found.get("width", "0").isdecimal():
        del found["width"]
    return found


def _home() -> str:
    """``core.paths.home`` without the imports it needs; a test holds the two together."""
    if chosen := os.environ.get("TOLLKEEPER_HOME"):
        return os.path.expanduser(chosen)  # noqa: PTH111
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Application Support/tollkeeper")  # noqa: PTH111
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "tollkeeper")  # noqa: PTH111, PTH118


def _midnight(now_s: float) -> int:
    """When the local day began, seconds since the epoch: the first of two midnights, or where clocks jumped over it, the jump."""
    day = time.localtime(now_s)[:3]
    starts = [int(time.mktime((*day, 0, 0, 0, 0, 0, summer))) for summer in (-1, 0, 1)]
    return min((start for start in starts if time.localtime(start)[:3] == day), default=starts[0])


def _refresh_soon(home: str) -> None:
    """Have the budgets worked out by another process, unless one was started a moment ago."""
    marker = os.path.join(home, "statusline.asked")  # noqa: PTH118
    try:
        if time.time() - os.stat(marker).st_mtime < REFRESH_AFTER_S:  # noqa: PTH116
            return
    except OSError:
        pass
    try:
        with open(marker, "w", encoding="utf-8"):  # noqa: PTH123
            os.utime(marker)
    except OSError:
        return
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "tollkeeper.cli.entry", "statusline", "--refresh"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)],
    )


def refresh() -> None:
    """Work out the budgets as they stand and bring the sums beside a large ledger up to date, for the next lines."""
    from pathlib import Path

    from tollkeeper.core.clock import system_clock
    from tollkeeper.core.errors import TollkeeperError
    from tollkeeper.ledger.rollup import rolled_up
    from tollkeeper.policy.document import load_policy
    from tollkeeper.report.overview import budget_lines

    home = Path(_home())
    ready = home / READY
    lines = []
    try:
        policy = load_policy(home / "policy.toml") if (home / "policy.toml").exists() else None
        lines = [one for one in budget_lines(home / "ledger.db", policy, system_clock()) if one.standing is not None]
    except TollkeeperError:
        lines = []  # a policy that cannot be read has no budgets to show; `tollkeeper doctor` says what is wrong with it
    budgets: list[Ready] = [
        {
            "name": f"{one.budget.name} {one.who}".strip()[:40],
            "key": one.limit.bucket.key,
            "start": one.limit.bucket.start_at,
            "until_s": None if one.limit.resets_at is None else one.limit.resets_at // 1_000_000,
            "amount": one.standing.amount_nanousd,
        }
        for one in lines[:5]
        if one.standing is not None
    ]
    scratch = ready.with_name(f".statusline.{os.getpid()}")
    try:
        scratch.write_text(written_ready(int(time.time()), budgets), encoding="utf-8")
        scratch.replace(ready)
    except OSError:  # a full disk
        scratch.unlink(missing_ok=True)
        raise
    with rolled_up(home / "ledger.db"):
        pass
