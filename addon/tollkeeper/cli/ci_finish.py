"""``tollkeeper ci finish``: the sidecar's last word in a job."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import ConfigError, GateError, SetupError
from tollkeeper.core.money import format_usd_exact, parse_usd
from tollkeeper.core.paths import home
from tollkeeper.ledger.queries import report, tail
from tollkeeper.ledger.rows import Report
from tollkeeper.report.ci import (
    Finding,
    Step,
    Summary,
    annotations,
    as_object,
    baseline_of,
    code_quality,
    exit_code,
    findings,
    is_cache_miss,
    junit,
    markdown,
)

from .ci_files import append
from .ci_settle import COPY, SETTLED
from .ci_state import CiState, ci_home, public_folder
from .process import ask_status, read_state
from .stopping import stop_process

MAX_CALLS = 100_000
MAX_BASELINE_FILES = 500
MAX_BASELINE_BYTES = 4 * 1024 * 1024
GONE = "tollkeeper: the sidecar was gone before the job's end: calls that were open count at what was held for them"


@click.command()
@click.option(
    "--fail-on", help="Fail the job on: over, refused, unpriced, unmetered (with commas), none, or all.  [over]", default="over"
)
@click.option("--max", "most", help="The most this job may cost, like 2.50; more is `over`, whatever the policy says.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for summary.md, summary.json, junit.xml, …  [public folder]",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    multiple=True,
    help="summary.json of an earlier run, or a folder of them; may be repeated.",
)
@click.option("--timeout-seconds", default=30.0, show_default=True, help="How long open streams may go on.")
@click.option("--keep-running", is_flag=True, help="Leave the sidecar running: a summary in between.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON artefact.")
def command(
    fail_on: str,
    most: str | None,
    output: Path | None,
    baseline: tuple[Path, ...],
    timeout_seconds: float,
    keep_running: bool,
    as_json: bool,
) -> None:
    """Settle what is open, stop the sidecar, write the summary and the artefacts.

    Exit code: 0, or 20 over, 21 refused, 22 unpriced, 23 unmetered, by what --fail-on names.
    """
    wanted, allowed = _wanted(fail_on), _amount(most)
    os.environ["TOLLKEEPER_HOME"] = str(ci_home(os.environ))
    public = public_folder(os.environ)
    state = CiState.read(public)
    refused_connections, ledger = _end(state, public, timeout_seconds, keep_running=keep_running)
    state = state.with_steps(public, system_clock())
    summary = _summary(state, ledger, refused_connections, _baselines(baseline, state.job.get("base", "")))
    found = findings(summary, allowed)
    document = as_object(summary, found)
    text = markdown(summary, found)
    written = _write(
        output or public,
        state.job.get("platform", ""),
        document,
        text,
        junit(summary, found, wanted),
        code_quality(found, wanted),
    )
    if target := os.environ.get("GITHUB_STEP_SUMMARY"):
        with contextlib.suppress(OSError):
            append(Path(target), text)
    for line in annotations(state.job.get("platform", ""), found, wanted):
        # GitHub reads its commands from both streams (actions/runner, ScriptHandler.cs: stdoutManager, stderrManager).
        click.echo(line, err=as_json or not line.startswith("::"))
    click.echo(json.dumps(document) if as_json else text)
    sys.exit(exit_code(found, wanted) or (0 if written else SetupError.exit_code))


def _wanted(text: str) -> tuple[Finding, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return tuple(Finding)
    if words in ([], ["none"]):
        return ()
    try:
        return tuple(Finding(word) for word in words)
    except ValueError:
        known = ", ".join(finding.value for finding in Finding)
        raise ConfigError(f"--fail-on {text[:80]!r}: the words are {known}, all, none") from None


def _amount(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_usd(text)
    except ValueError as error:
        raise ConfigError(f"--max {text[:40]!r} is no amount in dollars; write it like 2.50") from error


def _end(state: CiState, public: Path, timeout_seconds: float, *, keep_running: bool) -> tuple[int, Path]:
    """Stop the proxy if it runs; how many connections it stopped, and where its ledger is.

    One that is gone has settled nothing: opening its ledger charges what it held. A locked one belongs to another user: root's own
    command ends it and lays a copy of the ledger open.
    """
    if not os.access(home().root, os.R_OK | os.X_OK):
        _have_settled(state, public)
    if (public / SETTLED).exists():
        told = json.loads((public / SETTLED).read_text())
        if not told["was_running"]:
            click.echo(GONE, err=True)
        return int(told["refused_connections"]), public / COPY
    running = read_state()
    ledger = Path(str((running or {}).get("ledger") or state.ledger or home().ledger))
    if running is None:
        if not state.ended:
            click.echo(GONE, err=True)
        _recover(ledger)
        return state.refused_connections, ledger
    refused = int((ask_status(running) or {}).get("refused_connections", 0))
    if not keep_running:
        stop_process(int(running["pid"]), timeout_seconds)
        with contextlib.suppress(OSError):  # it is only what a second finish would say
            replace(state, ended=True, refused_connections=refused).write(public)
    return refused, ledger


def _have_settled(state: CiState, public: Path) -> None:
    if (public / SETTLED).exists():
        return
    told = "the sidecar belongs to another user, as it must under --lock: sudo -E tollkeeper ci finish, or allow the job this one command"
    script = Path(state.settle_script or "/nonexistent")
    sudo = shutil.which("sudo")
    if sudo is None or not script.exists():
        raise GateError(told)
    done = subprocess.run([sudo, "-n", str(script)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise GateError(f"{told}: {script} ({(done.stderr.strip().splitlines() or ['refused'])[-1][:200]})")


def _recover(ledger: Path) -> None:
    from tollkeeper.ledger.ledger import Ledger

    if ledger.exists():
        Ledger.open(ledger, system_clock).close_now()


def _summary(state: CiState, ledger: Path, refused_connections: int, base: tuple[int, ...]) -> Summary:
    now = system_clock()
    if not ledger.exists():
        raise GateError(f"there is no ledger at {ledger}: the sidecar never served; its log is {home().log}")
    by_model = report(ledger, by=("model",), session=state.session)
    rows = [row for row in tail(ledger, last=MAX_CALLS) if row.session == state.session]
    return Summary(
        job=state.job,
        by_model=by_model,
        steps=tuple(_steps(state, ledger, now)),
        refusals=tuple(row for row in rows if row.kind == "refuse"),
        base_nanousd=base,
        cache_misses=sum(map(is_cache_miss, rows)),
        refused_connections=refused_connections,
        started_at=state.started_at,
        ended_at=now,
    )


def _steps(state: CiState, ledger: Path, now: int) -> Iterable[Step]:
    begins = [("(before the first step)", state.started_at), *state.steps]
    if len(begins) == 1:
        return
    for (name, since), (_, until) in zip(begins, [*begins[1:], ("", now + 1)], strict=True):
        found: Report = report(ledger, by=("model",), since=since, until=until, session=state.session)
        yield Step(name, found.total)


def _baselines(places: Iterable[Path], branch: str) -> tuple[int, ...]:
    documents = []
    for place in places:
        dated = []
        for file in place.rglob("*.json") if place.is_dir() else [place]:
            with contextlib.suppress(OSError):
                found = file.stat()
                if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_BASELINE_BYTES:
                    dated.append((found.st_mtime, file))
        for _, file in sorted(dated)[-MAX_BASELINE_FILES:]:
            with contextlib.suppress(OSError):
                documents.append(file.read_text(encoding="utf-8", errors="replace"))
    return baseline_of(documents, branch) if branch else ()


def _write(folder: Path, platform: str, document: dict[str, Any], text: str, tests: str, quality: list[dict[str, Any]]) -> bool:
    """Lay the artefacts into ``folder``. False when that cannot be done, which is told: what was found is more than where it is kept."""
    artefacts = {"summary.md": text, "summary.json": json.dumps(document, indent=1) + "\n", "junit.xml": tests}
    if platform == "gitlab":
        artefacts["code-quality.json"] = json.dumps(quality, indent=1) + "\n"
        artefacts["metrics.txt"] = f"tollkeeper_cost_usd {format_usd_exact(document['total']['exposure_nanousd'])}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in artefacts.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        click.echo(
            f"tollkeeper: {error.filename or folder} cannot be written ({error.strerror}): name another folder with --output",
            err=True,
        )
        return False
    return True
