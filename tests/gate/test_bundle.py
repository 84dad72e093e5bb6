"""The two files of roots: nothing of the user's is lost, nothing of ours is trusted upstream."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tollkeeper.core.errors import GateError
from tollkeeper.gate import bundle
from tollkeeper.gate.bundle import FILE_VARIABLES, foreign_roots, system_bundle, upstream_bundle, write_bundle
from tollkeeper.gate.ca import Authority


def certificates(path: Path) -> list[bytes]:
    """The DER of each: systems hold roots (with a serial number of 0) that a strict parser warns about."""
    end = "-----END CERTIFICATE-----"
    return [
        ssl.PEM_cert_to_DER_cert(block[block.index("-----BEGIN CERTIFICATE-----") :] + end)
        for block in path.read_text().split(end)[:-1]
    ]


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """A company's root, as PEM with the comments and the key that such files often carry."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company root")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=30))
    path = tmp_path / "company.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(b"# Comment\n" + secret + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def company_root(company: Path) -> bytes:
    return certificates(company)[0]


def test_clients_trust_the_system_and_us(authority: Authority, tmp_path: Path) -> None:
    target = write_bundle(tmp_path / "bundle.pem", authority.root_certificate, {})
    found = certificates(target)
    assert found[0] == certificates(authority.root_certificate)[0]
    assert len(found) == 1 + len(foreign_roots({}))
    assert len(found) > 20
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(target)
    assert context.cert_store_stats()["x509_ca"] == len(found)


@pytest.mark.parametrize("variable", FILE_VARIABLES)
def test_a_bundle_that_the_user_set_is_kept_for_clients_and_upstream(
    variable: str, company: Path, company_root: bytes, authority: Authority, tmp_path: Path
) -> None:
    environ = {variable: str(company)}
    assert company_root in certificates(write_bundle(tmp_path / "bundle.pem", authority.root_certificate, environ))
    assert company_root in certificates(upstream_bundle(tmp_path / "upstream.pem", environ))


def test_a_folder_of_roots_is_read_each_file_once(company: Path, company_root: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "company.pem").write_bytes(company.read_bytes())
    (folder / "abcd1234.0").symlink_to(folder / "company.pem")
    (folder / "README").write_text("no certificate here")
    found = certificates(upstream_bundle(tmp_path / "upstream.pem", {"SSL_CERT_DIR": f"{folder}:/nowhere:"}))
    assert found.count(company_root) == 1


def test_no_key_gets_into_a_bundle(company: Path, authority: Authority, tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": str(company), "REQUESTS_CA_BUNDLE": str(next(authority.confdir.glob("mitmproxy-ca.pem")))}
    for target in (
        write_bundle(tmp_path / "b.pem", authority.root_certificate, environ),
        upstream_bundle(tmp_path / "u.pem", environ),
    ):
        assert b"PRIVATE KEY" not in target.read_bytes()
        assert b"Comment" not in target.read_bytes()


def test_a_nested_run_never_trusts_our_root_upstream(
    company: Path, company_root: bytes, authority: Authority, tmp_path: Path
) -> None:
    outer = write_bundle(tmp_path / "outer.pem", authority.root_certificate, {"SSL_CERT_FILE": str(company)})
    inner = certificates(
        upstream_bundle(
            tmp_path / "inner.pem", {"SSL_CERT_FILE": str(outer), "NODE_EXTRA_CA_CERTS": str(authority.root_certificate)}
        )
    )
    assert company_root in inner
    assert certificates(authority.root_certificate)[0] not in inner


def test_no_certificate_appears_twice(company: Path, tmp_path: Path) -> None:
    environ = dict.fromkeys(FILE_VARIABLES, str(company))
    found = foreign_roots(environ)
    assert len(found) == len(set(found))
    assert len(found) == len(foreign_roots({})) + 1


def test_missing_odd_and_huge_files_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text(
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAAAA\n"
    )
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    expected = foreign_roots({})
    (tmp_path / "huge").write_bytes(b"x" * 2_000_000)
    monkeypatch.setattr(bundle, "MAX_FILE_BYTES", 1_000_000)
    environ = {
        "SSL_CERT_FILE": str(tmp_path / "none"),
        "PIP_CERT": str(tmp_path / "text"),
        "AWS_CA_BUNDLE": str(tmp_path / "binary"),
    }
    assert foreign_roots({**environ, "CURL_CA_BUNDLE": str(tmp_path / "huge"), "DENO_CERT": "/dev/zero"}) == expected


def test_writing_the_same_again_leaves_the_file_alone(authority: Authority, tmp_path: Path) -> None:
    target = write_bundle(tmp_path / "bundle.pem", authority.root_certificate, {})
    before = target.stat()
    write_bundle(target, authority.root_certificate, {})
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_root_file_without_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="holds no certificate"):
        write_bundle(tmp_path / "bundle.pem", tmp_path / "missing.pem", {})


def test_a_folder_that_cannot_be_written_is_named(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="cannot write the bundle"):
        upstream_bundle(tmp_path / "nowhere" / "upstream.pem", {})


def test_the_system_has_roots() -> None:
    assert len(certificates(system_bundle())) > 20
