"""Makes the two certificates of our authority: a root whose key dies here, and an intermediate that can sign for AI hosts only.

Shape: RFC 5280 section 4.2.1.10 (name constraints). They stand on both certificates, critical: on a self-signed root alone Java
ignores them (docs/gate.md). P-256 rather than RSA saves about 1 ms of CPU per connection.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tollkeeper.core.clock import to_datetime
from tollkeeper.core.errors import GateError

ROOT_NAME = "Tollkeeper local root"
"""How every root of ours begins its common name: by it a bundle of ours is told from the user's."""

BACKDATED = timedelta(days=2)
"""Clients with a slow clock must accept us; mitmproxy dates its leaves back by as much."""

_ALL_ADDRESSES = (x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0")))


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh authority. ``signing_key_pem`` belongs to the intermediate; the root's key no longer exists."""

    signing_key_pem: bytes
    intermediate_pem: bytes
    root_pem: bytes

    def __repr__(self) -> str:
        return "Issued(…)"


def issue(names: tuple[str, ...], at: int, lifetime_days: int) -> Issued:
    """A root and an intermediate that may sign for ``names`` (DNS subtrees) and for no IP address.

    They are valid for ``lifetime_days`` from ``at`` (UTC microseconds). Raises ``GateError`` for an empty list: a constraint without
    names would permit every name.
    """
    if not names:
        raise GateError("the certificate authority needs at least one AI host: an empty list would let it sign for every host")
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(name) for name in names], excluded_subtrees=_ALL_ADDRESSES
    )
    made = to_datetime(at).replace(microsecond=0)
    until = made + timedelta(days=lifetime_days)
    begin = made - BACKDATED
    tag = secrets.token_hex(4)
    root_key, signing_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name(f"{ROOT_NAME} {tag}"), _name(f"Tollkeeper AI hosts {tag}")
    root = _certificate(root_name, root_key, root_name, root_key, constraints, begin, until, path_length=1)
    intermediate = _certificate(name, signing_key, root_name, root_key, constraints, begin, until, path_length=0)
    return Issued(
        signing_key_pem=signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        intermediate_pem=intermediate.public_bytes(Encoding.PEM),
        root_pem=root.public_bytes(Encoding.PEM),
    )


def permitted(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS subtrees a certificate may sign for, sorted; empty when it is unconstrained."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(sorted(name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)))


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, as ``openssl x509 -fingerprint -sha256`` writes it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, common_name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tollkeeper")]
    )


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    constraints: x509.NameConstraints,
    not_before: datetime,
    not_after: datetime,
    *,
    path_length: int,
) -> x509.Certificate:
    """One CA certificate. Key identifiers are needed by strict verifiers (Python 3.13, ``X509_V_FLAG_X509_STRICT``)."""
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before.astimezone(UTC))
        .not_valid_after(not_after.astimezone(UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(constraints, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
