"""The authority on disk: private, limited to AI hosts, made once, renewed in time; and what real TLS clients make of it."""

import contextlib
import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from tollkeeper.core.errors import GateError
from tollkeeper.gate import ca
from tollkeeper.gate.ca import EPHEMERAL_DAYS, Authority, ensure_ca, find_ca
from tollkeeper.gate.certificates import issue, permitted
from tollkeeper.gate.files import ROOT_CERTIFICATE, SIGNING

NAMES = ("api.anthropic.com", "api.openai.com", "openai.azure.com")
NOW = 1_795_000_000_000_000
DAY = 86_400_000_000

Server = Callable[..., Any]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_private_authority_and_says_so(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path / "ca", NAMES, NOW)
    assert authority.renewed == "first start"
    assert mode(tmp_path / "ca") == 0o700
    assert mode(authority.confdir) == 0o700
    assert mode(authority.confdir / SIGNING) == 0o600
    assert authority.not_after // 1_000_000 == NOW // 1_000_000 + 365 * 86_400


def test_the_umask_of_the_caller_does_not_open_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        authority = ensure_ca(tmp_path / "ca", NAMES, NOW)
    finally:
        os.umask(before)
    assert mode(authority.confdir / SIGNING) == 0o600
    assert mode(tmp_path / "ca") == 0o700


def test_a_second_start_finds_the_same_authority(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    second = ensure_ca(tmp_path, tuple(reversed(NAMES)), NOW + DAY)
    assert second.renewed is None
    assert (second.fingerprint, second.confdir) == (first.fingerprint, first.confdir)


def test_no_file_holds_the_key_of_the_root(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path, NAMES, NOW)
    root = x509.load_pem_x509_certificate((authority.confdir / ROOT_CERTIFICATE).read_bytes())
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keys = []
    for path in tmp_path.rglob("*"):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
            keys.append(load_pem_private_key(path.read_bytes(), None).public_key().public_bytes(*spki))
    assert len(keys) == 1
    assert root.public_key().public_bytes(*spki) not in keys


def test_both_certificates_carry_the_constraints_critically_and_exclude_every_address(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path, NAMES, NOW)
    for file, path_length in ((SIGNING, 0), (ROOT_CERTIFICATE, 1)):
        certificate = x509.load_pem_x509_certificates((authority.confdir / file).read_bytes())[0]
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
        assert constraints.critical
        assert permitted(certificate) == NAMES
        assert [str(name.value) for name in constraints.value.excluded_subtrees or ()] == ["0.0.0.0/0", "::/0"]
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert basic.critical
        assert basic.value == x509.BasicConstraints(ca=True, path_length=path_length)


def test_the_certificate_in_every_handshake_stays_small(authority: Authority) -> None:
    """9.6 kB today; every stack tried takes twice that and more (the limits stand at the list of names, in ``test_hosts``)."""
    intermediate = x509.load_pem_x509_certificates((authority.confdir / SIGNING).read_bytes())[0]
    assert len(intermediate.public_bytes(Encoding.DER)) < 10_500


def test_an_authority_without_names_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="at least one AI host"):
        ensure_ca(tmp_path, (), NOW)


def test_the_key_does_not_show_in_a_repr() -> None:
    assert "PRIVATE" not in repr(issue(NAMES, NOW, 1))


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_stops_the_start_with_both_remedies(tmp_path: Path, bits: int) -> None:
    authority = ensure_ca(tmp_path, NAMES, NOW)
    (authority.confdir / SIGNING).chmod(bits)
    with pytest.raises(GateError) as caught:
        ensure_ca(tmp_path, NAMES, NOW)
    assert f"{bits:04o}" in str(caught.value)
    assert "chmod 600" in str(caught.value)
    assert "rm -r" in str(caught.value)


def test_a_key_that_is_a_link_stops_the_start(tmp_path: Path) -> None:
    authority = ensure_ca(tmp_path / "ca", NAMES, NOW)
    signing = authority.confdir / SIGNING
    signing.rename(tmp_path / "elsewhere.pem")
    signing.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(GateError, match="not a plain file"):
        ensure_ca(tmp_path / "ca", NAMES, NOW)


@pytest.mark.parametrize(
    ("left_days", "renews"),
    [(8, False), (6, True), (0, True), (-3, True)],
)
def test_an_authority_is_made_anew_a_week_before_it_ends(tmp_path: Path, left_days: int, renews: bool) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    second = ensure_ca(tmp_path, NAMES, first.not_after - left_days * DAY)
    assert (second.renewed is not None) == renews
    assert (second.fingerprint != first.fingerprint) == renews
    if renews:
        assert "UTC" in str(second.renewed)


def test_an_ephemeral_authority_lasts_a_day_and_is_not_remade_on_every_start(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW, lifetime_days=EPHEMERAL_DAYS)
    assert first.not_after // 1_000_000 == NOW // 1_000_000 + 86_400
    assert ensure_ca(tmp_path, NAMES, NOW + DAY // 8, lifetime_days=EPHEMERAL_DAYS).renewed is None
    assert ensure_ca(tmp_path, NAMES, NOW + DAY - 1, lifetime_days=EPHEMERAL_DAYS).renewed is not None


def test_a_new_list_of_hosts_makes_a_new_authority_and_says_so(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    second = ensure_ca(tmp_path, (*NAMES, "llm.example.com"), NOW)
    assert second.renewed == "the list of AI hosts has changed"
    assert second.fingerprint != first.fingerprint
    assert ensure_ca(tmp_path, NAMES, NOW).fingerprint == first.fingerprint


def test_clients_are_told_to_trust_the_roots_of_proxies_that_may_still_run(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    second = ensure_ca(tmp_path, ("api.openai.com",), NOW)
    roots = x509.load_pem_x509_certificates(second.root_certificate.read_bytes())
    expected = [x509.load_pem_x509_certificate((found.confdir / ROOT_CERTIFICATE).read_bytes()) for found in (second, first)]
    assert roots == expected


def test_a_root_that_is_damaged_or_has_ended_is_not_handed_to_clients(tmp_path: Path) -> None:
    damaged = ensure_ca(tmp_path, ("damaged.example.com",), NOW)
    (damaged.confdir / ROOT_CERTIFICATE).write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    ensure_ca(tmp_path, ("short.example.com",), NOW, lifetime_days=1)
    present = ensure_ca(tmp_path, NAMES, NOW + 2 * DAY)
    assert present.root_certificate.read_bytes() == (present.confdir / ROOT_CERTIFICATE).read_bytes()


def test_old_authorities_are_removed_in_the_end(tmp_path: Path) -> None:
    made = [ensure_ca(tmp_path, (f"host{number}.example.com",), NOW) for number in range(5)]
    left = [authority.confdir for authority in made if authority.confdir.exists()]
    assert len(left) == ca.KEPT_OTHERS + 1
    assert made[-1].confdir in left


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (SIGNING, b"", "damaged"),
        (SIGNING, b"-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n", "damaged"),
        (ROOT_CERTIFICATE, b"garbage", "damaged"),
        (ROOT_CERTIFICATE, None, "missing"),
        (SIGNING, None, "missing"),
        (SIGNING, b"x" * 400_000, "damaged"),
    ],
)
def test_damaged_files_are_replaced_by_a_new_authority(tmp_path: Path, file: str, content: bytes | None, words: str) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    path = first.confdir / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    second = ensure_ca(tmp_path, NAMES, NOW)
    assert words in str(second.renewed)
    assert second.fingerprint != first.fingerprint
    assert ensure_ca(tmp_path, NAMES, NOW).renewed is None


def test_certificates_that_somebody_widened_are_never_used(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    wide = issue(("com",), NOW, 365)
    (first.confdir / SIGNING).write_bytes(wide.signing_key_pem + wide.intermediate_pem * 2)
    (first.confdir / ROOT_CERTIFICATE).write_bytes(wide.root_pem)
    assert "not limited" in str(ensure_ca(tmp_path, NAMES, NOW).renewed)


def test_a_key_of_another_certificate_is_never_used(tmp_path: Path) -> None:
    first = ensure_ca(tmp_path, NAMES, NOW)
    own = first.confdir / SIGNING
    certificates = own.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    own.write_bytes(issue(NAMES, NOW, 365).signing_key_pem + certificates[1] + certificates[2])
    assert "did not belong" in str(ensure_ca(tmp_path, NAMES, NOW).renewed)


def test_a_clock_set_back_makes_a_new_authority(tmp_path: Path) -> None:
    ensure_ca(tmp_path, NAMES, NOW)
    assert "clock" in str(ensure_ca(tmp_path, NAMES, NOW - 30 * DAY).renewed)


def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GateError, match="TOLLKEEPER_HOME"):
        ensure_ca(tmp_path / "file" / "ca", NAMES, NOW)


def test_two_first_starts_at_once_make_one_authority(tmp_path: Path) -> None:
    found: list[Authority] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_ca(tmp_path, NAMES, NOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({authority.fingerprint for authority in found}) == 1
    assert sum(authority.renewed is not None for authority in found) == 1


def test_an_interrupted_write_leaves_nothing_that_counts(tmp_path: Path) -> None:
    (tmp_path / ".new-half").mkdir()
    (tmp_path / ".new-half" / SIGNING).write_text("half")
    assert find_ca(tmp_path, NAMES, NOW) is None
    assert ensure_ca(tmp_path, NAMES, NOW).renewed == "first start"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert find_ca(tmp_path, NAMES, NOW) is None
    assert list(tmp_path.iterdir()) == []
    made = ensure_ca(tmp_path, NAMES, NOW)
    found = find_ca(tmp_path, NAMES, NOW)
    assert found is not None
    assert found.fingerprint == made.fingerprint
    assert find_ca(tmp_path, NAMES, made.not_after) is None


# --- what TLS clients make of it


def strict_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.root_certificate))
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    return context


def handshake(context: ssl.SSLContext, port: int, host: str) -> int:
    """Connect; the bytes of the chain that was presented."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw, context.wrap_socket(raw, server_hostname=host) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"200" in tls.recv(100)
        return len(tls.getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize(
    "host", ["api.openai.com", "eu.api.openai.com", "acme.openai.azure.com", "us-central1-aiplatform.googleapis.com"]
)
def test_python_accepts_an_ai_host_even_when_strict(authority: Authority, https_server: Server, host: str) -> None:
    with https_server(host) as port:
        assert handshake(strict_context(authority), port, host) > 0


@pytest.mark.parametrize("host", ["www.example.com", "api.openai.com.evil.com", "openai.com", "bank.com"])
def test_python_refuses_any_other_host_that_our_key_signs_for(authority: Authority, https_server: Server, host: str) -> None:
    with https_server(host) as port, pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(strict_context(authority), port, host)


def test_python_refuses_an_address_that_our_key_signs_for(authority: Authority, https_server: Server) -> None:
    with (
        https_server("127.0.0.1", address=True) as port,
        pytest.raises(ssl.SSLCertVerificationError, match="excluded subtree violation"),
    ):
        handshake(strict_context(authority), port, "127.0.0.1")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("host", "accepted"), [("api.anthropic.com", True), ("www.example.com", False)])
def test_curl_accepts_ai_hosts_only(authority: Authority, https_server: Server, host: str, accepted: bool) -> None:
    with https_server(host) as port:
        command = [
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "--cacert",
            str(authority.root_certificate),
            "--resolve",
            f"{host}:{port}:127.0.0.1",
        ]
        done = subprocess.run([*command, f"https://{host}:{port}/"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout == "ok") == accepted, done.stderr
    assert (done.returncode == 60) == (not accepted)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.parametrize(("host", "accepted"), [("api.anthropic.com", True), ("www.example.com", False)])
def test_node_accepts_ai_hosts_only(authority: Authority, https_server: Server, host: str, accepted: bool) -> None:
    script = """
        const [host, port] = process.argv.slice(1);
        const tls = require('tls').connect({ host: '127.0.0.1', port, servername: host }, () => { console.log('accepted'); tls.end(); });
        tls.on('error', (error) => console.log('refused', error.code));
    """
    with https_server(host) as port:
        environ = {**os.environ, "NODE_EXTRA_CA_CERTS": str(authority.root_certificate)}
        done = subprocess.run(
            ["node", "-e", script, host, str(port)], capture_output=True, text=True, timeout=60, env=environ, check=False
        )
    assert done.stdout.startswith("accepted" if accepted else "refused"), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("host", "accepted"), [("api.anthropic.com", True), ("www.example.com", False)])
def test_openssl_verifies_the_chain_strictly(authority: Authority, tmp_path: Path, host: str, accepted: bool) -> None:
    from mitmproxy.certs import CertStore

    store = CertStore.from_store(authority.confdir, "mitmproxy", 2048)
    (tmp_path / "leaf.pem").write_bytes(store.get_cert(host, [x509.DNSName(host)]).cert.to_pem())
    intermediate = x509.load_pem_x509_certificates((authority.confdir / SIGNING).read_bytes())[0]
    (tmp_path / "int.pem").write_bytes(intermediate.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", host]
    files = ["-CAfile", str(authority.root_certificate), "-untrusted", str(tmp_path / "int.pem"), str(tmp_path / "leaf.pem")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) == accepted, done.stdout + done.stderr


def test_mitmproxy_takes_the_files_as_they_are_and_presents_leaf_and_intermediate(authority: Authority) -> None:
    from mitmproxy.certs import CertStore
    from mitmproxy.net import tls
    from OpenSSL import SSL

    store = CertStore.from_store(authority.confdir, "mitmproxy", 2048)
    before = (authority.confdir / SIGNING).read_bytes()
    entry = store.get_cert("api.openai.com", [x509.DNSName("api.openai.com")])
    server_context = tls.create_client_proxy_context(
        method=tls.Method.TLS_SERVER_METHOD,
        min_version=tls.Version.TLS1_2,
        max_version=tls.Version.UNBOUNDED,
        cipher_list=None,
        ecdh_curve=None,
        chain_file=entry.chain_file,
        alpn_select_callback=None,
        request_client_cert=False,
        extra_chain_certs=(),
        dhparams=store.dhparams,
    )
    server = SSL.Connection(server_context)
    server.use_certificate(entry.cert.to_cryptography())
    server.use_privatekey(entry.privatekey)
    server.set_accept_state()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = strict_context(authority).wrap_bio(incoming, outgoing, server_hostname="api.openai.com")
    presented_bytes = _shake_in_memory(client, server, incoming, outgoing)
    assert 9_000 < presented_bytes < 12_000, "leaf and intermediate, without the root"
    assert (authority.confdir / SIGNING).read_bytes() == before
    assert not store.default_ca.has_expired()


def _shake_in_memory(client: ssl.SSLObject, server: Any, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> int:
    from OpenSSL import SSL

    moved = 0
    for _ in range(5):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            server.bio_write(outgoing.read())
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            flight = server.bio_read(100_000)
            moved += len(flight)
            incoming.write(flight)
        else:
            return moved
    raise AssertionError("no handshake after five flights")


def test_the_store_signs_with_an_elliptic_curve_key(authority: Authority) -> None:
    key = load_pem_private_key((authority.confdir / SIGNING).read_bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert len(pem) < 300, "P-256, not RSA"
