"""What ``doctor`` asks of the gate: whether the authority is sound, and whether clients of a shell go through the proxy."""

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from tollkeeper.core.clock import US_PER_SECOND, to_datetime
from tollkeeper.core.errors import GateError

from .access import is_loopback
from .bundle import FILE_VARIABLES
from .ca import find_ca
from .environment import ACTIVE, ADDING, DIRECT, PROXIES, REPLACING, swallowed
from .files import ROOT_CERTIFICATE

_SHOWN = 5


class State(StrEnum):
    """How a check ended: ``warning`` means that something is not metered, ``failed`` that something does not work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report. ``remedy`` is a command to paste, when there is one. Holds no secret."""

    group: str
    state: State
    detail: str
    remedy: str | None = None


def authority_checks(folder: Path, bundle: Path, names: tuple[str, ...], at: int) -> list[Check]:
    """The CA in ``folder`` and the ``bundle`` that clients get, at ``at`` (UTC microseconds)."""
    try:
        authority = find_ca(folder, names, at)
    except GateError as error:
        return [Check("CA", State.FAILED, str(error))]
    except OSError as error:
        return [Check("CA", State.FAILED, f"{folder} cannot be read: {error.strerror}", f"chown -R \"$USER\" '{folder}'")]
    if authority is None:
        return [
            Check("CA", State.WARNING, "none yet for the present list of AI hosts: the next start makes one", "tollkeeper start")
        ]
    days = (authority.not_after - at) // (86_400 * US_PER_SECOND)
    ends = f"{to_datetime(authority.not_after):%Y-%m-%d}"
    checks = [Check("CA", State.OK, f"valid until {ends} ({days} days), key private, limited to {len(names)} names of AI hosts")]
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        checks.append(Check("CA", State.WARNING, f"{folder} has mode {mode:04o}, wanted 0700", f"chmod 700 '{folder}'"))
    root = folder / ROOT_CERTIFICATE
    if not (bundle.is_file() and root.is_file()):
        checks.append(
            Check("CA", State.WARNING, f"{bundle} or {root} is missing: the next start writes them", "tollkeeper start")
        )
    elif not _holds(bundle, root):
        detail = f"{bundle} does not hold our root: clients will not trust the proxy"
        checks.append(Check("CA", State.FAILED, detail, "tollkeeper stop; tollkeeper start"))
    return checks


def shell_checks(
    environ: Mapping[str, str],
    address: tuple[str, int] | None,
    bundle: Path,
    root: Path,
    names: tuple[str, ...],
    listens: Callable[[str, int], bool],
) -> list[Check]:
    """The shell's variables against the proxy listening at ``address`` (None: none is running).

    ``listens(host, port)`` tells whether something answers there: inside ``tollkeeper run`` the proxy is another one.
    """
    proxies = {variable: environ[variable] for variable in PROXIES if environ.get(variable)}
    checks = _missing_files(environ)
    if not proxies:
        if address is not None:
            detail = "HTTPS_PROXY is not set: clients started here are not metered"
            checks.append(Check("shell", State.WARNING, detail, 'eval "$(tollkeeper env)"'))
        return checks
    endpoints = {variable: _endpoint(value) for variable, value in proxies.items()}
    first = next(iter(endpoints.values()))
    if environ.get(ACTIVE) and first is not None and first != address and listens(*first):
        address = first
    wrong = {variable: found for variable, found in endpoints.items() if found != address}
    if wrong:
        checks.append(_wrong_proxy(wrong, address, ours=bool(environ.get(ACTIVE))))
    elif address is not None:
        checks.append(Check("shell", State.OK, f"clients started here go through {address[0]}:{address[1]}"))
        checks += _shadowed(environ, bundle, root)
    direct = tuple(dict.fromkeys(name for variable in DIRECT for name in swallowed(environ.get(variable, ""), names)))
    if direct:
        shown = ", ".join(direct[:_SHOWN]) + (f" and {len(direct) - _SHOWN} more" if len(direct) > _SHOWN else "")
        detail = f"NO_PROXY sends {shown} past the proxy, unmetered: take them out of it"
        checks.append(Check("shell", State.WARNING, detail, 'echo "$NO_PROXY"'))
    return checks


def _wrong_proxy(wrong: Mapping[str, tuple[str, int] | None], address: tuple[str, int] | None, *, ours: bool) -> Check:
    names = ", ".join(wrong)
    host, port = next(iter(wrong.values())) or ("an odd address", 0)
    if ours and address is None:
        return Check(
            "shell", State.FAILED, f"{names}: {host}:{port}, but no proxy is running there", 'eval "$(tollkeeper env --unset)"'
        )
    if ours and address is not None:
        detail = f"{names}: {host}:{port} is stale, the proxy listens on {address[0]}:{address[1]}"
        return Check("shell", State.FAILED, detail, 'eval "$(tollkeeper env)"')
    detail = f"{names}: {host}:{port} is another proxy; calls through it are not metered, and Tollkeeper itself connects directly"
    return Check("shell", State.WARNING, detail, 'eval "$(tollkeeper env)"' if address else None)


def _shadowed(environ: Mapping[str, str], bundle: Path, root: Path) -> list[Check]:
    """CA variables that do not lead to our root, in a shell that uses the proxy."""
    wanted = {str(bundle), str(root)}
    bad = [
        name
        for name in (*REPLACING, *ADDING)
        if environ.get(name) not in wanted and not _holds(Path(environ.get(name, "")), root)
    ]
    if not bad:
        return []
    detail = f"{', '.join(bad)} not set to our roots: clients that read {'it' if len(bad) == 1 else 'them'} will refuse the proxy"
    return [Check("shell", State.FAILED, detail, 'eval "$(tollkeeper env)"')]


def _missing_files(environ: Mapping[str, str]) -> list[Check]:
    return [
        Check("shell", State.FAILED, f"{name} names {environ[name]}, which is not there", f"unset {name}")
        for name in FILE_VARIABLES
        if environ.get(name) and not Path(environ[name]).exists()
    ]


def _holds(bundle: Path, root: Path) -> bool:
    """Whether the file ``bundle`` holds the first certificate of ``root``."""
    try:
        certificate = root.read_text().partition("-----END")[0].strip()
        return certificate != "" and bundle.is_file() and certificate in bundle.read_text()
    except (OSError, ValueError):
        return False


def _endpoint(proxy: str) -> tuple[str, int] | None:
    """Host and port of a proxy URL; never its password."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return None
    return ("127.0.0.1" if is_loopback(host) and ":" not in host else host, port)
