"""Real TLS handshakes by the runtimes found on this machine, each with its own trust, against a server of ours on loopback.

The server shows what the proxy shows: a certificate for an AI host, signed by our authority. A runtime that trusts it goes on to send a
request; that request, and nothing else, is the proof. Nothing leaves the machine.
"""

import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tollkeeper.core.clock import to_datetime
from tollkeeper.core.errors import GateError

from .files import SIGNING

HOST = "api.openai.com"
TRIAL_SECONDS = 10.0
MAX_REQUEST_BYTES = 4096

_PYTHON = """
import socket
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, port, *a, **k: real("127.0.0.1", port, *a, **k)
"""
_SSL = (
    "import socket, ssl; s = ssl.create_default_context().wrap_socket(socket.create_connection(('127.0.0.1', {port}), {limit}),"
    " server_hostname='{host}'); s.sendall(b'GET /{name} HTTP/1.1\\r\\n\\r\\n'); s.recv(9)"
)
_NODE = (
    "const s = require('tls').connect({{host: '127.0.0.1', port: {port}, servername: '{host}'}},"
    " () => s.write('GET /{name} HTTP/1.1\\r\\n\\r\\n')); s.on('data', () => process.exit(0)); s.on('error', () => process.exit(1))"
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A way to speak TLS: the program, its arguments, and what makes it trust us.

    ``{port}``, ``{host}``, ``{name}`` and ``{limit}`` (seconds) are filled in. ``needs`` is a Python module without which there is
    nothing to try.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    variable: str
    needs: str = ""


RUNTIMES = (
    Runtime("curl", "curl", ("-sS", "-m", "{limit}", "--noproxy", "*", "-o", "/dev/null", "--resolve", "{host}:{port}:127.0.0.1",
                             "https://{host}:{port}/{name}"), "CURL_CA_BUNDLE or SSL_CERT_FILE"),
    Runtime("python ssl", "python3", ("-c", _SSL), "SSL_CERT_FILE"),
    Runtime("python requests", "python3", ("-c", _PYTHON +
                                           "import requests; requests.get('https://{host}:{port}/{name}', timeout={limit})"),
            "REQUESTS_CA_BUNDLE", needs="requests"),
    Runtime("python httpx", "python3", ("-c", _PYTHON + "import httpx; httpx.get('https://{host}:{port}/{name}', timeout={limit})"),
            "SSL_CERT_FILE", needs="httpx"),
    Runtime("node", "node", ("-e", _NODE), "NODE_EXTRA_CA_CERTS"),
    Runtime("bun", "bun", ("-e", _NODE), "NODE_EXTRA_CA_CERTS"),
    Runtime("git", "git", ("-c", "http.curloptResolve={host}:{port}:127.0.0.1", "-c", "http.proxy=", "ls-remote",
                           "https://{host}:{port}/{name}"), "GIT_SSL_CAINFO"),
)  # fmt: skip

CLIENTS = ("claude", "codex", "gemini", "opencode", "aider", "llm", "cursor-agent", "copilot", "goose")
"""Programs that talk to AI hosts; named where they are found."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a runtime did. ``detail`` is where it is, or the last line it said."""

    runtime: Runtime
    trusts: bool
    detail: str


def try_runtimes(confdir: Path, environ: Mapping[str, str], at: int, seconds: float = TRIAL_SECONDS) -> list[Trial]:
    """Every runtime that is here, tried with ``environ`` (its proxies are left out); ``confdir`` holds the authority's signing key.

    ``seconds`` is what each is given; one that takes longer counts as one that does not trust.

    Raises ``GateError`` when the trial server cannot be started.
    """
    quiet = {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")} | {
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
    quiet["GIT_TERMINAL_PROMPT"] = "0"
    with _server(confdir, at, seconds) as (port, seen), ThreadPoolExecutor(max_workers=4) as pool:
        return [
            trial for trial in pool.map(lambda runtime: _try(runtime, port, seen, quiet, seconds), RUNTIMES) if trial is not None
        ]


def found_clients(path: str | None) -> list[str]:
    """The AI programs on ``path`` (``PATH``)."""
    return [name for name in CLIENTS if shutil.which(name, path=path)]


def _try(runtime: Runtime, port: int, seen: set[str], environ: dict[str, str], seconds: float) -> Trial | None:
    program = shutil.which(runtime.program, path=environ.get("PATH"))
    if program is None:
        return None
    if runtime.needs and not _has_module(program, runtime.needs, environ, seconds):
        return None
    name = runtime.name.replace(" ", "-")
    limit = int(seconds * 0.8)  # its own, so that it can say what it waited for
    arguments = [argument.format(port=port, host=HOST, name=name, limit=limit) for argument in runtime.arguments]
    try:
        done = subprocess.run(
            [program, *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Trial(runtime, name in seen, f"{program}: {type(error).__name__}")
    if done.returncode in {126, 127} and name not in seen:
        return None  # a shim without a program behind it
    said = (done.stderr or done.stdout).strip().splitlines()
    if name in seen:
        return Trial(runtime, True, program)
    return Trial(runtime, False, f"{program}: {said[-1][:160] if said else f'ended with {done.returncode}'}")


def _has_module(program: str, module: str, environ: dict[str, str], seconds: float) -> bool:
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
    with suppress(OSError, subprocess.TimeoutExpired):
        return (
            subprocess.run([program, "-c", script], env=environ, capture_output=True, timeout=seconds, check=False).returncode
            == 0
        )
    return False


@contextmanager
def _server(confdir: Path, at: int, seconds: float) -> Iterator[tuple[int, set[str]]]:
    """A TLS server on loopback; gives its port and the names of those who sent a request."""
    seen: set[str] = set()
    try:
        context = _context(confdir, at)
        listener = socket.create_server(("127.0.0.1", 0))
    except (OSError, ValueError) as error:
        raise GateError(f"no trial server for TLS handshakes: {error}") from error
    listener.settimeout(0.2)
    stopped = threading.Event()
    thread = threading.Thread(target=_serve, args=(listener, context, seen, stopped, seconds), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        stopped.set()
        thread.join(timeout=2)
        listener.close()


def _serve(listener: socket.socket, context: ssl.SSLContext, seen: set[str], stopped: threading.Event, seconds: float) -> None:
    answering: list[threading.Thread] = []
    while not stopped.is_set():
        try:
            connection, _ = listener.accept()
        except (TimeoutError, OSError):
            continue
        answering.append(threading.Thread(target=_answer, args=(connection, context, seen, seconds), daemon=True))
        answering[-1].start()


def _answer(connection: socket.socket, context: ssl.SSLContext, seen: set[str], seconds: float) -> None:
    connection.settimeout(seconds / 2)
    with connection, suppress(OSError, ValueError), context.wrap_socket(connection, server_side=True) as tls:
        request = tls.recv(MAX_REQUEST_BYTES).decode("latin-1")
        path = request.partition(" ")[2].partition(" ")[0]
        seen.add(path.strip("/").partition("/")[0].partition("?")[0])
        tls.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def _context(confdir: Path, at: int) -> ssl.SSLContext:
    """What the proxy would show for ``HOST``: a certificate by the authority's own key, and the authority's certificate."""
    pem = (confdir / SIGNING).read_bytes()
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is of an unknown kind")  # noqa: TRY004 — a damaged file, not a programming error
    issuer = x509.load_pem_x509_certificates(pem)[0]
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    made = to_datetime(at)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]))
        .issuer_name(issuer.subject)
        .public_key(leaf_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - timedelta(hours=1))
        .not_valid_after(min(made + timedelta(hours=1), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trial.pem")
        file.touch(mode=0o600)
        secret = leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(secret + leaf.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM))
        context.load_cert_chain(file)
    return context


def java_trusts(root: Path, environ: Mapping[str, str]) -> bool | None:
    """Whether Java's own store holds one of the roots in ``root``; None where there is no ``keytool``."""
    keytool = shutil.which("keytool", path=environ.get("PATH"))
    if keytool is None:
        return None
    try:
        done = subprocess.run(
            [keytool, "-list", "-cacerts", "-storepass", "changeit"],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        roots = x509.load_pem_x509_certificates(root.read_bytes())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    prints = {certificate.fingerprint(hashes.SHA256()).hex(":").upper() for certificate in roots}
    return any(line.rpartition(": ")[2].strip() in prints for line in done.stdout.splitlines())
