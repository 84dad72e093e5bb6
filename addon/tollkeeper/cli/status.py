"""``tollkeeper status``: is it running, what has it seen, what has it not."""

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from tollkeeper.core.paths import home
from tollkeeper.gate.files import BUNDLE, ROOT_CERTIFICATE
from tollkeeper.gate.remedies import remedy_for

from .process import ask_status, proxy_url, read_state


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(as_json: bool) -> None:
    """Show the running proxy: port, mode, calls, refusals, and what it could not meter. Exit 3 when it is not running."""
    state = read_state()
    if state is None:
        click.echo(json.dumps({"running": False}) if as_json else "not running; start it with `tollkeeper start`")
        raise SystemExit(3)
    live = ask_status(state)
    public = {key: value for key, value in {**state, **(live or {})}.items() if not key.startswith("proxy_")}
    if as_json:
        click.echo(json.dumps({"running": True, "answers": live is not None, **public}))
        return
    for line in lines(public, answers=live is not None, url=proxy_url({**state, "proxy_user": ""})):
        click.echo(line)


def lines(state: dict[str, Any], *, answers: bool, url: str) -> list[str]:
    """The status for people, most important first."""
    up_s = max(0, int(time.time()) - state["started_at"] // 1_000_000)
    shown = [
        f"metering on {url} · {state['mode']} · up {_duration(up_s)} · pid {state['pid']}",
        f"calls {state['calls']} · in flight {state['inflight']} · refused {state['refused']} · "
        f"rewritten {state['rewritten']} · unmetered {state['unmetered']} · tunnelled {state['tunnelled']}",
    ]
    shown.extend(_plan(window) for window in state.get("plan_windows", {}).values())
    if not answers:
        shown.append("! it does not answer on its port; see the log, or `tollkeeper stop` and start it again")
    if state["faults"] or state["ledger_errors"]:
        shown.append(f"! faults {state['faults']}, ledger errors {state['ledger_errors']}; last: {state['last_fault']}")
    shown.extend(f"! {refusal}" for refusal in refusing(state))
    if state.get("policy_error"):
        shown.append(f"! the policy in the file is not in force: {state['policy_error']}")
    if state.get("refused_connections"):
        shown.append(f"connections refused at the door {state['refused_connections']}; last: {state['last_refused']}")
    shown.append(f"policy {state['policy'] or 'built in: observe everything'}")
    shown.append(f"ledger {state['ledger']}")
    shown.append(f"undo everything: tollkeeper stop && rm -r {home().root}")
    return shown


def refusing(state: Mapping[str, Any]) -> list[str]:
    """Who refuses our certificate and what to paste, the most frequent first; by host where the client is not known."""
    found = sorted(dict(state.get("untrusting_clients") or {}).values(), key=lambda one: -int(one["count"]))
    told = [f"{refusal_words(one)} → {mend(one)}" for one in found[:5]]
    hosts = set(state.get("untrusting_hosts") or ()) - {one["host"] for one in found}
    counted = sorted(((host, state["untrusting_hosts"][host]) for host in hosts), key=lambda item: -int(item[1]))
    return told + [f"{count} TLS handshakes for {host} broke off: `tollkeeper doctor`" for host, count in counted[:5]]


def refusal_words(found: Mapping[str, Any]) -> str:
    """``node (pid 4211) refuses our certificate for api.openai.com (4 times)``; ``seems to refuse`` where it did not say so."""
    who = f"{found['client']} (pid {found['pid']})" if found["pid"] else str(found["client"])
    times = f" ({found['count']} times)" if int(found["count"]) > 1 else ""
    return f"{who} {'refuses' if found['said'] else 'seems to refuse'} our certificate for {found['host']}{times}"


def mend(found: Mapping[str, Any]) -> str:
    """What makes that program trust us, ready to paste."""
    folder = home().ca
    return remedy_for(str(found["command"])).paste(folder / BUNDLE, folder / ROOT_CERTIFICATE)


def _plan(window: dict[str, Any]) -> str:
    """``plan claude (ada): 5h 23 % used, resets in 2 h 10 min``."""
    left_s = None if window["resets_at"] is None else window["resets_at"] // 1_000_000 - int(time.time())
    parts = [f"plan {window['plan']} ({window['principal']}): {window['window']}"]
    if window["used_ppm"] is not None:
        parts.append(f"{window['used_ppm'] / 10_000:.0f} % used")
    if window["status"] and window["status"] != "allowed":
        parts.append(window["status"])
    line = " ".join(parts)
    if left_s is None:
        return line
    return f"{line}, resets in {_duration(left_s)}" if left_s > 0 else f"{line}, has been reset since"


def _duration(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
