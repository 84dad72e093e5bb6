"""Who a command started here is, for ``run`` and ``whoami``: the CI job, else the person who is logged in, else nobody proved."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, Clock
from tollkeeper.core.principal import Principal

from .answers import IdentityError, Proof, Refused
from .config import IdentityConfig
from .issuer import Issuer, Kind
from .job_token import job_token
from .local import LoginNote, local_principal
from .session import Sessions
from .token_store import Session, open_store
from .verify import Verifier

_PLATFORMS = {"GITHUB_ACTIONS": Kind.GITHUB, "GITLAB_CI": Kind.GITLAB, "CIRCLECI": Kind.CIRCLECI, "BUILDKITE": Kind.BUILDKITE}


class Source(StrEnum):
    """What proved it."""

    JOB = "job"
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """An identity proved at this moment. ``until`` (UTC seconds) is how long a proxy password may stand for it.

    ``told`` names the source for people, ``session`` is the log-in where it was one.
    """

    source: Source
    proof: Proof
    until: int
    told: str
    session: Session | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The identity, None when nothing proves one, and everything that went wrong on the way, in words."""

    here: Here | None
    trouble: tuple[str, ...] = ()


async def find_here(
    config: IdentityConfig,
    verifier: Verifier,
    sessions_folder: Path,
    environ: Mapping[str, str],
    clock: Clock,
    trust: Path | None = None,
) -> Found:
    """Who a command started with ``environ`` is. Renews a session that is about to end. Never raises for a bad credential."""
    trouble: list[str] = []
    try:
        if (here := await _job(config, verifier, environ, clock)) is not None:
            return Found(here=here)
    except IdentityError as error:
        trouble.append(str(error))
    sessions = Sessions(open_store(sessions_folder), verifier, sessions_folder, clock, trust)
    for row in config.login_rows:
        try:
            current = await sessions.current(row)
        except IdentityError as error:
            trouble.append(str(error))
            continue
        if current is not None:
            session, proof = current
            until = _now_s(clock) + config.handle_s if session.refresh_token else session.expires_at
            here = Here(source=Source.SESSION, proof=proof, until=until, told=f"logged in at {row.name}", session=session)
            return Found(here=here, trouble=tuple(trouble))
    return Found(here=None, trouble=tuple(trouble))


def booked_to(config: IdentityConfig, login: Path, clock: Clock) -> Principal:
    """Whose a call is that comes without a proof through this user's proxy: who logged in last (the note ``login``), else the OS user."""
    found = LoginNote(login).current(clock() / US_PER_SECOND)
    return config.grouped(found if found is not None else local_principal())


def job_audience(config: IdentityConfig, environ: Mapping[str, str]) -> str:
    """What a job asks its platform to make the token out to: what the platform's own row wants, else the first row's."""
    kind = next((kind for variable, kind in _PLATFORMS.items() if environ.get(variable) == "true"), None)
    rows: list[Issuer] = sorted(config.issuers, key=lambda row: row.kind is not kind)
    return next((audience for row in rows for audience in row.audiences), "tollkeeper")


async def _job(config: IdentityConfig, verifier: Verifier, environ: Mapping[str, str], clock: Clock) -> Here | None:
    if not config.issuers:
        return None
    job = await job_token(environ, job_audience(config, environ))
    if job is None:
        return None
    found = await verifier.verify(job.token, "job")
    if isinstance(found, Refused):
        raise IdentityError(f"the token of {job.source} proves nothing: {found}")
    # Such tokens live for minutes: shown once when the job begins, they stand for all of it.
    until = _now_s(clock) + config.handle_s
    return Here(source=Source.JOB, proof=found, until=until, told=f"by the token of {job.source}, when the job begins")


def _now_s(clock: Clock) -> int:
    return clock() // US_PER_SECOND
