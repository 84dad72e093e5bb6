"""Ways round the sidecar, each tried from where it is called. A probe finds its way closed, open, or cannot tell; none spends anything."""

import contextlib
import errno
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SECONDS = 4.0
QUIC_BYTES = 1200
"""RFC 9000, 14.1: smaller ones are not answered."""
RESERVED_VERSION = b"\x1a\x2a\x3a\x4a"
"""RFC 9000, 15: every server answers it with a list of versions it speaks, and nothing is opened."""
OTHER_PORTS = (22, 53, 2053, 2083, 2087, 2096, 8443)
"""SSH; DNS, which only resolvers are asked; where Cloudflare, which stands before several providers, serves HTTPS besides 443."""
INNOCENT = "example.com"
NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN, DAC_OVERRIDE, DAC_READ, KILL = 12, 13, 19, 21, 1, 2, 5
DANGEROUS = {
    "CAP_DAC_OVERRIDE": DAC_OVERRIDE, "CAP_DAC_READ_SEARCH": DAC_READ, "CAP_KILL": KILL, "CAP_NET_ADMIN": NET_ADMIN, "CAP_NET_RAW": NET_RAW,
    "CAP_SYS_PTRACE": SYS_PTRACE, "CAP_SYS_ADMIN": SYS_ADMIN,
}  # fmt: skip
ENGINES = (
    "/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock", "/var/lib/lxd/unix.socket", "/var/snap/lxd/common/lxd/unix.socket", "/var/lib/incus/unix.socket",
)  # fmt: skip


class Outcome(StrEnum):
    """What a probe found."""

    CLOSED = "closed"
    OPEN = "OPEN"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Result:
    """One way and whether it is closed."""

    way: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to try: an AI host, the sidecar's listener, its process and private folder, our root certificate."""

    host: str
    proxy: tuple[str, int]
    pid: int
    private: Path
    root: Path


type Found = tuple[Outcome, str]
type Probe = tuple[str, Callable[[Target], Found]]


def try_all(target: Target, probes: Iterable[Probe]) -> list[Result]:
    """Every probe, one after the other; one that breaks cannot tell."""
    results = []
    for way, probe in probes:
        try:
            outcome, detail = probe(target)
        except Exception as error:  # a probe's own fault is no proof of anything
            outcome, detail = Outcome.UNKNOWN, f"{type(error).__name__}: {error}"
        results.append(Result(way, outcome, detail))
    return results


UNNAMED: Found = (Outcome.UNKNOWN, "the host's name has no address here: this way could not be tried")


def _closed(detail: str) -> Found:
    return Outcome.CLOSED, detail


def _open(detail: str) -> Found:
    return Outcome.OPEN, detail


# -- who we are ---------------------------------------------------------------------------------------------------------


def not_root(_target: Target) -> Found:
    """Root can undo every rule and read every file."""
    return _open("this is root: no lock holds root") if os.geteuid() == 0 else _closed(f"user id {os.geteuid()}")


def no_capabilities(_target: Target) -> Found:
    """Capabilities that open what user ids close."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return Outcome.UNKNOWN, "no /proc"
    held = 0
    for line in lines:
        if line.startswith(("CapEff:", "CapPrm:", "CapAmb:")):
            held |= int(line.split()[1], 16)
    found = [name for name, bit in DANGEROUS.items() if held >> bit & 1]
    return _open(", ".join(found)) if found else _closed("none that matters")


def no_sudo(_target: Target) -> Found:
    """Passwordless sudo is root in other words."""
    if (sudo := shutil.which("sudo")) is None:
        return _closed("there is no sudo")
    done = subprocess.run([sudo, "-n", "true"], capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    return _closed("it asks for a password") if done.returncode else _open("sudo needs no password: the job can become root")


def no_engine(_target: Target) -> Found:
    """A container engine's socket is root in other words."""
    found = [path for path in ENGINES if os.access(path, os.W_OK)]
    return _open(f"{', '.join(found)} can be written") if found else _closed("no socket can be written")


# -- the sidecar itself -------------------------------------------------------------------------------------------------


def key_unreadable(target: Target) -> Found:
    """The CA's key."""
    folder = target.private / "ca"
    try:
        found = next(folder.rglob("mitmproxy-ca.pem"), None) if os.access(folder, os.R_OK | os.X_OK) else None
        if found is not None:
            found.read_bytes()
            return _open(f"{found} can be read")
    except OSError as error:
        return _closed(error.strerror or "refused")
    return _closed("its folder cannot be entered") if _denied(folder) else (Outcome.UNKNOWN, f"nothing at {folder}")


def ledger_unwritable(target: Target) -> Found:
    """The ledger and the documents in force."""
    for name in ("ledger.db", "policy.toml", "proxy.json"):
        try:
            descriptor = os.open(target.private / name, os.O_RDWR)
        except PermissionError:
            continue
        except FileNotFoundError:
            continue
        os.close(descriptor)
        return _open(f"{name} can be written")
    return _closed("permission denied") if _denied(target.private / "ledger.db") else (Outcome.UNKNOWN, "the files are not there")


def _denied(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(path, os.R_OK)


def no_signals(target: Target) -> Found:
    """Ending or stopping the proxy."""
    try:
        os.kill(target.pid, 0)
    except PermissionError:
        return _closed("not permitted")
    except ProcessLookupError:
        return Outcome.UNKNOWN, f"there is no process {target.pid} (another pid namespace?)"
    return _open(f"process {target.pid} can be ended")


def no_memory(target: Target) -> Found:
    """Reading the key out of the proxy's memory."""
    try:
        with Path(f"/proc/{target.pid}/mem").open("rb"):
            return _open("its memory can be read")
    except PermissionError:
        return _closed("permission denied")
    except OSError as error:
        return Outcome.UNKNOWN, error.strerror or "no such process"


# -- the roads ----------------------------------------------------------------------------------------------------------


def ours(target: Target) -> ssl.SSLContext:
    """Trust in the sidecar's own authority, and in no other."""
    return ssl.create_default_context(cafile=str(target.root))


def _handshake(address: str, port: int, sni: str | None, context: ssl.SSLContext) -> tuple[str, bytes]:
    """(what went wrong, the certificate shown); the first is empty after a whole handshake."""
    try:
        with (
            socket.create_connection((address, port), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=sni) as connection,
        ):
            return "", connection.getpeercert(binary_form=True) or b""
    except OSError as error:
        return _words(error), b""


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return errno.errorcode.get(error.errno or 0, "") or error.strerror or type(error).__name__


def addresses_of(host: str, family: int) -> list[str]:
    """The first three addresses of a host; none when its name is not known here."""
    try:
        return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, 443, family, socket.SOCK_STREAM)))[:3]
    except OSError:
        return []


def _blind() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def sidecar_answers(target: Target) -> Found:
    """The road that should be there: the proxy signs for the AI host."""
    try:
        with socket.create_connection(target.proxy, timeout=SECONDS) as plain:
            plain.sendall(f"CONNECT {target.host}:443 HTTP/1.1\r\nHost: {target.host}:443\r\n\r\n".encode())
            head = plain.recv(4096)
            if b" 200 " not in head.split(b"\r\n")[0]:
                return Outcome.UNKNOWN, f"the proxy answered {head.split(b'\r\n')[0][:60].decode('latin-1')}"
            with ours(target).wrap_socket(plain, server_hostname=target.host):
                return _closed("metered by the sidecar")
    except OSError as error:
        return Outcome.UNKNOWN, f"the sidecar does not answer: {_words(error)}"


def _direct(target: Target, family: int) -> Found:
    addresses = addresses_of(target.host, family)
    if not addresses:
        return _closed("the host has no such address here")
    return reached(addresses, target.host, ours(target))


def reached(addresses: Iterable[str], host: str, context: ssl.SSLContext) -> Found:
    """Who answers as the AI host at these addresses: itself, or the sidecar, or nobody. ``context`` trusts the sidecar alone."""
    said = []
    for address in addresses:
        problem, _ = _handshake(address, 443, host, context)
        if not problem:
            said.append("caught and metered")
        elif problem.startswith("certificate:"):
            return _open(f"{address} answered with a certificate of its own")
        else:
            said.append(problem)
    return _closed(", ".join(dict.fromkeys(said)))


def direct_v4(target: Target) -> Found:
    """Straight to the provider, as a client without a proxy variable does."""
    return _direct(target, socket.AF_INET)


def direct_v6(target: Target) -> Found:
    """The same over IPv6."""
    return _direct(target, socket.AF_INET6)


def _each_address(target: Target, sni: str | None) -> Found:
    said = []
    for address in [*addresses_of(target.host, socket.AF_INET), *addresses_of(target.host, socket.AF_INET6)]:
        problem, certificate = _handshake(address, 443, sni, _blind())
        if problem:
            said.append(problem)
            continue
        named, _ = _handshake(address, 443, sni, ssl.create_default_context()) if sni else ("unnamed", b"")
        if sni and not named:
            said.append(f"led to {sni} itself")
            continue
        return _open(f"{address} answered ({len(certificate)} bytes of certificate)")
    return _closed(", ".join(dict.fromkeys(said))) if said else UNNAMED


def no_sni(target: Target) -> Found:
    """A bare address, no name."""
    return _each_address(target, None)


def other_sni(target: Target) -> Found:
    """Another name at the provider's address."""
    return _each_address(target, INNOCENT)


def other_ports(target: Target) -> Found:
    """The provider's other doors."""
    addresses = addresses_of(target.host, socket.AF_INET)[:1]
    for address in addresses:
        for port in OTHER_PORTS:
            with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1.5):
                return _open(f"port {port} of {address} is open")
    if not addresses:
        return UNNAMED
    return _closed(f"none of {', '.join(map(str, OTHER_PORTS))} answered")


def quic(target: Target) -> Found:
    """HTTP/3: a client that gets through leaves every proxy behind."""
    said = []
    packet = b"\xc0" + RESERVED_VERSION + b"\x08" + bytes(8) + b"\x00"
    for family in (socket.AF_INET, socket.AF_INET6):
        for address in addresses_of(target.host, family)[:1]:
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
                    datagrams.settimeout(2)
                    datagrams.connect((address, 443))
                    datagrams.send(packet + bytes(QUIC_BYTES - len(packet)))
                    datagrams.recv(2048)
                    return _open(f"{address} answered over UDP")
            except OSError as error:
                said.append(_words(error))
    return _closed(", ".join(dict.fromkeys(said))) if said else UNNAMED


def plain_http(target: Target) -> Found:
    """The provider's name in a plain request."""
    for address in addresses_of(target.host, socket.AF_INET)[:1]:
        try:
            with socket.create_connection((address, 80), timeout=SECONDS) as connection:
                connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n\r\n".encode())
                line = connection.recv(1024).split(b"\r\n")[0]
                return _closed("refused by the sidecar") if b" 403 " in line or not line else _open(line[:60].decode("latin-1"))
        except OSError as error:
            return _closed(_words(error))
    return UNNAMED


def _asks_proxy(target: Target, request: str) -> bytes:
    with socket.create_connection(target.proxy, timeout=SECONDS) as connection:
        connection.sendall(request.encode())
        return connection.recv(1024).split(b"\r\n")[0]


def connect_to_address(target: Target) -> Found:
    """A tunnel to the provider's bare address."""
    for address in addresses_of(target.host, socket.AF_INET)[:1]:
        line = _asks_proxy(target, f"CONNECT {address}:443 HTTP/1.1\r\nHost: {address}:443\r\n\r\n")
        return _open("the proxy opened it") if b" 200 " in line else _closed(line[:60].decode("latin-1"))
    return UNNAMED


def connect_to_port(target: Target) -> Found:
    """A tunnel to another port of the provider."""
    line = _asks_proxy(target, f"CONNECT {target.host}:8443 HTTP/1.1\r\nHost: {target.host}:8443\r\n\r\n")
    return _open("the proxy opened it") if b" 200 " in line else _closed(line[:60].decode("latin-1"))


def metadata(target: Target) -> Found:
    """The machine's own credentials, asked for by way of the proxy, which may be allowed more than the job."""
    line = _asks_proxy(target, "GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
    return (
        _closed(line[:60].decode("latin-1") or "closed")
        if not line or line.split(b" ")[1:2] in ([b"403"], [b"502"])
        else _open("it answered")
    )


PROBES: tuple[Probe, ...] = (
    ("the sidecar answers", sidecar_answers),
    ("job runs as root", not_root),
    ("capabilities", no_capabilities),
    ("passwordless sudo", no_sudo),
    ("container engine", no_engine),
    ("read the CA key", key_unreadable),
    ("change ledger or policy", ledger_unwritable),
    ("signal the proxy", no_signals),
    ("read the proxy's memory", no_memory),
    ("direct, IPv4", direct_v4),
    ("direct, IPv6", direct_v6),
    ("bare address, no SNI", no_sni),
    ("provider's address, other SNI", other_sni),
    ("other ports", other_ports),
    ("QUIC", quic),
    ("plain HTTP", plain_http),
    ("CONNECT to an address", connect_to_address),
    ("CONNECT to another port", connect_to_port),
    ("metadata through the proxy", metadata),
)
