"""What ``doctor`` says of identity: the document, keys, the session and the job's token, clock and groups. Holds no secret."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, Clock, system_clock
from tollkeeper.core.errors import ConfigError
from tollkeeper.gate.health import Check, State

from .answers import IdentityError, Proof, Refused, Why
from .config import IdentityConfig, load_identity
from .desk import Desk, Folder
from .here import job_audience
from .issuer import GroupSource, Issuer
from .job_token import job_token
from .session import Sessions
from .token_store import open_store

GROUP = "identity"
SOON_S = 900
MEASURED_S = 10
"""How exactly a clock can be compared by an answer that took seconds to come."""
_PROBE = "tollkeeper-doctor"
"""A ``kid`` that no issuer has: asking for it fetches the keys."""


def identity_checks(
    root: Path, environ: Mapping[str, str], *, trust: Path | None = None, clock: Clock = system_clock, keys: bool = True
) -> list[Check]:
    """Every check on the state folder ``root``. With ``keys`` each issuer's keys are fetched, 5 s at most for all."""
    folder = Folder(root)
    try:
        config = load_identity(folder.document)
    except ConfigError as error:
        return [Check(GROUP, State.FAILED, str(error))]
    if not config.issuers and not config.services:
        return [Check(GROUP, State.OK, "no identity.toml: calls are recorded under this machine's own login")]
    return asyncio.run(_examine(config, folder, environ, trust, clock, keys=keys))


async def _examine(
    config: IdentityConfig, folder: Folder, environ: Mapping[str, str], trust: Path | None, clock: Clock, *, keys: bool
) -> list[Check]:
    desk = Desk(config, folder=folder, trust=trust, clock=clock)
    try:
        rows = ", ".join(row.name for row in config.issuers) or "none"
        checks = [Check(GROUP, State.OK, f"{folder.document} parses; issuers: {rows}; service tokens: {len(config.services)}")]
        if keys:
            checks += await asyncio.gather(*(_keys(desk, row) for row in config.issuers))
            checks += _clock(desk, config)
        for row in config.login_rows:
            checks.append(await _session(desk, folder, row, clock, trust))
        checks += await _job(desk, config, environ)
        return checks
    finally:
        await desk.close()


async def _keys(desk: Desk, row: Issuer) -> Check:
    found = await desk.keys[row.name].key(_PROBE)
    state = desk.keys[row.name].describe()
    if isinstance(found, Refused) and found.why is Why.UNREACHABLE:
        return Check(GROUP, State.FAILED, f"{row.name}: {found.reason}", found.remedy or None)
    return Check(GROUP, State.OK, f"{row.name}: {state}")


def _clock(desk: Desk, config: IdentityConfig) -> list[Check]:
    """A clock that is wrong refuses every token; the issuers that were just asked know what time it is."""
    found = [(abs(ahead), ahead, name) for name, source in desk.keys.items() if (ahead := source.ahead_s) is not None]
    if not found:
        return []
    off, ahead, name = min(found)  # one issuer may be wrong itself; all of them are not
    if off <= max(config.skew_s, MEASURED_S):
        return [Check(GROUP, State.OK, "this machine's clock agrees with the issuers'")]
    way = "ahead of" if ahead > 0 else "behind"
    allowed = f"clock_skew_seconds = {config.skew_s}"
    detail = f"this machine's clock is {off:.0f} s {way} that of {name}: tokens look ended or not begun ({allowed})"
    return [Check(GROUP, State.FAILED, detail, "timedatectl set-ntp true")]


async def _session(desk: Desk, folder: Folder, row: Issuer, clock: Clock, trust: Path | None) -> Check:
    sessions = Sessions(open_store(folder.sessions), desk.verifier, folder.sessions, clock, trust)
    login = f"tollkeeper login {row.name}"
    try:
        current = await sessions.current(row)
    except IdentityError as error:
        return Check(GROUP, State.WARNING, str(error), login)
    if current is None:
        return Check(GROUP, State.WARNING, f"{row.name}: nobody is logged in", login)
    session, proof = current
    left_s = session.expires_at - clock() // US_PER_SECOND
    if left_s < SOON_S and not session.refresh_token:
        detail = f"{row.name}: the session of {proof.principal.subject} ends in {max(0, left_s) // 60} min"
        return Check(GROUP, State.WARNING, detail, login)
    return _proved(row.name, proof, row)


async def _job(desk: Desk, config: IdentityConfig, environ: Mapping[str, str]) -> list[Check]:
    try:
        job = await job_token(environ, job_audience(config, environ))
    except IdentityError as error:
        return [Check(GROUP, State.FAILED, str(error))]
    if job is None:
        return []
    found = await desk.verifier.verify(job.token, "job")
    if isinstance(found, Refused):
        return [Check(GROUP, State.FAILED, f"the token of {job.source}: {found.reason}", found.remedy or None)]
    row = next(row for row in config.issuers if row.name == found.row)
    return [_proved(f"the token of {job.source}", found, row)]


def _proved(what: str, proof: Proof, row: Issuer) -> Check:
    groups = ", ".join(sorted(proof.principal.groups)[:5]) or "none"
    detail = f"{what}: verified as {proof.principal.subject} by {row.name}; groups: {groups}"
    if not proof.principal.groups and row.groups_from is not GroupSource.NONE:
        return Check(GROUP, State.WARNING, f"{detail}: the issuer names none, budgets by group will not see this caller")
    return Check(GROUP, State.OK, detail)
