"""The two files of trusted roots: what clients trust (everyone's roots and ours), what the proxy trusts (everyone's, never ours).

Most CA variables replace a client's store, so what they point at must hold the system's roots and those that the user (or the
company) had already set. Nothing of the user's is changed: no keychain, no certifi, no virtual environment.
"""

import base64
import binascii
import hashlib
import os
import re
import ssl
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import certifi

from tollkeeper.core.errors import GateError

from .certificates import ROOT_NAME
from .environment import ADDING, REPLACING, WHEN_SET

FILE_VARIABLES = (*REPLACING, *ADDING, *WHEN_SET)
"""Where users and companies name their own roots (docs/gate.md says which client reads which)."""
FOLDER_VARIABLE = "SSL_CERT_DIR"

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
MAX_FILE_BYTES = 16_000_000
MAX_FILES = 4_000
MAX_CERTIFICATES = 5_000

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]{1,200000}?)-----END CERTIFICATE-----")


def write_bundle(target: Path, root: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Write what clients trust to ``target``: system roots, the user's own, and the certificates of ``root`` (ours, first).

    Returns ``target``. Raises ``GateError`` when it cannot be written or no roots are found.
    """
    ours = list(_certificates_in(_read(str(root), set())))
    if not ours:
        raise GateError(
            f"{root} holds no certificate: remove its folder (rm -r '{root.parent}'), a new authority is made at the next start"
        )
    return _write(target, [*ours, *foreign_roots(os.environ if environ is None else environ)])


def upstream_bundle(target: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Write what the proxy trusts to ``target``: the same without ours, even when a variable points at a bundle of ours (a nested run)."""
    return _write(target, foreign_roots(os.environ if environ is None else environ))


def foreign_roots(environ: Mapping[str, str]) -> list[bytes]:
    """The DER certificates of the system and of every bundle set in ``environ``, without duplicates and without roots of ours.

    Raises ``GateError`` when there are none: a proxy that trusts nobody reaches nobody.
    """
    found: dict[bytes, bytes] = {}
    for content in _sources(environ):
        for certificate in _certificates_in(content):
            if ROOT_NAME.encode() not in certificate and len(found) < MAX_CERTIFICATES:
                found.setdefault(hashlib.sha256(certificate).digest(), certificate)
    if not found:
        raise GateError(
            "no trusted roots found on this machine: install the package ca-certificates, or name a bundle in SSL_CERT_FILE"
        )
    return list(found.values())


def system_bundle() -> Path:
    """The file of this system's roots; certifi's where the system has none as a file."""
    compiled_in = ssl.get_default_verify_paths().openssl_cafile
    for name in (compiled_in, *SYSTEM_BUNDLES):
        path = Path(name)
        if path.is_file() and path.stat().st_size:
            return path
    return Path(certifi.where())


def _sources(environ: Mapping[str, str]) -> Iterator[bytes]:
    """The content of every file to read, each file once: folders of roots hold most of them twice, by name and by hash."""
    named = [environ[variable] for variable in FILE_VARIABLES if environ.get(variable)]
    folders = environ.get(FOLDER_VARIABLE, "").split(os.pathsep)
    seen: set[tuple[int, int]] = set()
    for name in (str(system_bundle()), *(str(Path(name).expanduser()) for name in (*named, *folders) if name)):
        for file in _files_at(name):
            content = _read(file, seen)
            if content:
                yield content
            if len(seen) >= MAX_FILES:
                return


def _files_at(name: str) -> list[str]:
    try:
        with os.scandir(name) as entries:
            return sorted(entry.path for entry in entries)
    except NotADirectoryError:
        return [name]
    except OSError:
        return []


def _read(name: str, seen: set[tuple[int, int]]) -> bytes:
    """The file's content; empty when it is in ``seen``, missing, unreadable, odd or huge (``doctor`` names such files)."""
    try:
        found = Path(name).stat()
        key = (found.st_dev, found.st_ino)
        if key in seen or not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            return b""
        seen.add(key)
        return Path(name).read_bytes()
    except OSError:
        return b""


def _certificates_in(pem: bytes) -> Iterator[bytes]:
    """The DER of every certificate in a PEM text; keys and other blocks never get out of it."""
    for block in _PEM.finditer(pem):
        try:
            der = base64.b64decode(b"".join(block[1].split()), validate=True)
        except binascii.Error:
            continue
        if der.startswith(b"\x30"):
            yield der


def _write(target: Path, certificates: list[bytes]) -> Path:
    content = "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in certificates)
    try:
        if target.is_file() and target.read_text() == content:
            return target
        descriptor, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        Path(scratch).replace(target)
    except OSError as error:
        raise GateError(f"cannot write the bundle of roots {target}: {error.strerror or error}") from error
    return target
