"""The certificate authority on disk: made on first start, checked on every start, made anew before it ends.

Each authority (a generation) has a folder of its own that never changes once it is there, named after the list of hosts it may
sign for. A new list or a renewal makes a new generation, and clients are told to trust the roots of all that are kept: a proxy
that is still running goes on working.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tollkeeper.core.clock import US_PER_SECOND, from_datetime, to_datetime
from tollkeeper.core.errors import GateError

from .certificates import Issued, fingerprint, issue, permitted
from .files import ROOT_CERTIFICATE as ROOT_CERTIFICATE
from .files import SIGNING

LIFETIME_DAYS = 365
EPHEMERAL_DAYS = 1
"""For a CI job: the authority outlives no job by much."""

RENEW_DAYS = 7
KEPT_OTHERS = 2
"""Older authorities kept beside the present one, for proxies that still run; their keys can sign for AI hosts only."""

_DAY_US = 86_400 * US_PER_SECOND
_MAX_PEM_BYTES = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A usable authority.

    ``confdir`` is for mitmproxy, ``root_certificate`` for clients. ``not_after`` is UTC microseconds. ``renewed`` says why it was made
    just now, and is None when it was found.
    """

    confdir: Path
    root_certificate: Path
    fingerprint: str
    not_after: int
    renewed: str | None = None


def ensure_ca(folder: Path, names: tuple[str, ...], at: int, *, lifetime_days: int = LIFETIME_DAYS) -> Authority:
    """The authority for ``names`` (DNS subtrees), found in ``folder`` or made there at ``at`` (UTC microseconds).

    Raises ``GateError`` when a key can be read by others or belongs to somebody else, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        with _locked(folder / ".lock"):
            authority = _find_or_make(folder, names, at, lifetime_days)
            _publish_roots(folder, authority, at)
            return authority
    except OSError as error:
        raise GateError(
            f"the certificate authority in {folder} cannot be read or written ({error.strerror or error}): "
            f"give your user that folder (chown -R \"$USER\" '{folder}') or choose another with TOLLKEEPER_HOME"
        ) from error


def find_ca(folder: Path, names: tuple[str, ...], at: int) -> Authority | None:
    """The authority that ``ensure_ca`` would find, without making one; None when there is none. Raises ``GateError`` as above."""
    generation = _newest(folder, names)
    if generation is None:
        return None
    found = _load(generation, names)
    return found if isinstance(found, Authority) and not _ends_soon(found, at) else None


def _find_or_make(folder: Path, names: tuple[str, ...], at: int, lifetime_days: int) -> Authority:
    generation = _newest(folder, names)
    reason = "first start" if not any(_generations(folder)) else "the list of AI hosts has changed"
    if generation is not None:
        found = _load(generation, names)
        if isinstance(found, str):
            reason = found
            shutil.rmtree(generation)
        elif problem := _ends_soon(found, at):
            reason = problem
        else:
            os.utime(generation)
            return found
    made = _write(folder, names, issue(names, at, lifetime_days))
    _remove_old(folder, made.confdir)
    return replace(made, renewed=reason)


def _write(folder: Path, names: tuple[str, ...], issued: Issued) -> Authority:
    """A new generation, built aside and moved into place in one step."""
    until = x509.load_pem_x509_certificate(issued.root_pem).not_valid_after_utc
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))  # mkdtemp makes it 0700
    try:
        # mitmproxy presents a chain only when the file holds two certificates. The root would do as the second, but would then be
        # sent in every handshake: 9 KB and 0.2 ms of CPU per connection, for a certificate that the client has or does not trust.
        _write_private(scratch / SIGNING, issued.signing_key_pem + issued.intermediate_pem + issued.intermediate_pem)
        _write_private(scratch / ROOT_CERTIFICATE, issued.root_pem)
        target = folder / f"{_digest(names)}-{until:%Y%m%d%H%M%S}"
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    loaded = _load(target, names)
    if isinstance(loaded, str):
        raise GateError(f"the certificate authority just written to {target} cannot be used: {loaded}")
    return loaded


def _load(generation: Path, names: tuple[str, ...]) -> Authority | str:
    """The authority in a folder, or what is wrong with it. Raises ``GateError`` when its key is not private."""
    signing, root_path = generation / SIGNING, generation / ROOT_CERTIFICATE
    try:
        _check_private(signing)
        raw = _read(signing)
        key = load_pem_private_key(raw, password=None)
        intermediate = x509.load_pem_x509_certificates(raw)[0]
        root = x509.load_pem_x509_certificate(_read(root_path))
        intermediate.verify_directly_issued_by(root)
    except FileNotFoundError as error:
        return f"{error.filename} was missing"
    except GateError:
        raise
    except Exception as error:  # the parser has many ways to refuse a damaged file; each means: make a new one
        return f"its files were damaged ({type(error).__name__})"
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != intermediate.public_key().public_bytes(*spki):
        return "its key did not belong to its certificate"
    if not permitted(intermediate) == permitted(root) == tuple(sorted(names)):
        return "its certificates were not limited to the AI hosts"
    not_after = min(intermediate.not_valid_after_utc, root.not_valid_after_utc)
    return Authority(
        confdir=generation,
        root_certificate=generation.parent / ROOT_CERTIFICATE,
        fingerprint=fingerprint(root),
        not_after=from_datetime(not_after),
    )


def _ends_soon(authority: Authority, at: int) -> str | None:
    """Why it is time for another one: a week left (a quarter of its life, for a short-lived one), or a clock set back."""
    root = x509.load_pem_x509_certificate(_read(authority.confdir / ROOT_CERTIFICATE))
    begins = from_datetime(root.not_valid_before_utc)
    if at < begins:
        return f"the clock is set before it begins ({root.not_valid_before_utc:%Y-%m-%d})"
    left = authority.not_after - at
    if left < min(RENEW_DAYS * _DAY_US, (authority.not_after - begins) // 4):
        return f"it {'ended' if left < 0 else 'ends'} on {to_datetime(authority.not_after):%Y-%m-%d %H:%M} UTC"
    return None


def _check_private(path: Path) -> None:
    """Raises ``GateError`` when others can read the key, or own it; ``FileNotFoundError`` when it is not there."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise GateError(f"{path} is not a plain file: remove it (rm '{path}'), a new authority is made at the next start")
    anew = f"rm -r '{path.parent}' (a new one is made at the next start)"
    if found.st_uid not in {os.geteuid(), 0}:
        raise GateError(f"{path} belongs to uid {found.st_uid}, who could sign for AI hosts: {anew}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise GateError(
            f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o}, wanted 0600). "
            f"If nobody can have copied it: chmod 600 '{path}'. Else: {anew}"
        )


def _read(path: Path) -> bytes:
    """The file's content. Raises ``ValueError`` when it is far larger than any certificate file of ours."""
    with path.open("rb") as file:
        raw = file.read(_MAX_PEM_BYTES + 1)
    if len(raw) > _MAX_PEM_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_PEM_BYTES} bytes")
    return raw


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(names: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def _generations(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*-*/") if not path.name.startswith("."))


def _newest(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The generation of these names that ends last."""
    mine = f"{_digest(names)}-"
    return max((path for path in _generations(folder) if path.name.startswith(mine)), default=None, key=lambda path: path.name)


def _remove_old(folder: Path, present: Path) -> None:
    others = [path for path in _generations(folder) if path != present]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_OTHERS:]:
        shutil.rmtree(path, ignore_errors=True)


def _publish_roots(folder: Path, authority: Authority, at: int) -> None:
    """Write the roots of all generations that have not ended at ``at``, the present one first."""
    others = sorted(path for path in _generations(folder) if path != authority.confdir)
    roots = b"".join(filter(None, (_valid_root(path / ROOT_CERTIFICATE, at) for path in (authority.confdir, *others))))
    if not authority.root_certificate.exists() or _read(authority.root_certificate) != roots:
        scratch = authority.root_certificate.with_name(f".{ROOT_CERTIFICATE}.{os.getpid()}")
        scratch.unlink(missing_ok=True)
        _write_private(scratch, roots)
        scratch.replace(authority.root_certificate)


def _valid_root(path: Path, at: int) -> bytes | None:
    """The certificate as clean PEM; None when it is missing, damaged or has ended: one bad block makes clients drop the whole file."""
    try:
        certificate = x509.load_pem_x509_certificate(_read(path))
    except (OSError, ValueError):
        return None
    return certificate.public_bytes(Encoding.PEM) if from_datetime(certificate.not_valid_after_utc) > at else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two first starts at once make one authority."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
