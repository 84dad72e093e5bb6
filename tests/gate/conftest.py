"""A TLS server that presents what mitmproxy would present for a host, from our authority."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mitmproxy.certs import CertStore

from tollkeeper.core.clock import system_clock
from tollkeeper.gate.ca import Authority, ensure_ca
from tollkeeper.gate.hosts import HostTable

NAMES = HostTable.load().permitted_names()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return ensure_ca(tmp_path_factory.mktemp("ca"), NAMES, system_clock())


def presented(authority: Authority, host: str, *, address: bool = False) -> bytes:
    """Key, leaf and chain for ``host`` as PEM, made by mitmproxy's own store from our files."""
    store = CertStore.from_store(authority.confdir, "mitmproxy", 2048)
    name: x509.GeneralName = x509.IPAddress(ip_address(host)) if address else x509.DNSName(host)
    entry = store.get_cert(host, [name])
    key = entry.privatekey.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert entry.chain_file is not None
    intermediate = x509.load_pem_x509_certificates(entry.chain_file.read_bytes())[0]
    return key + entry.cert.to_pem() + intermediate.public_bytes(Encoding.PEM)


@contextmanager
def serving(pem: bytes, folder: Path) -> Iterator[int]:
    """A loopback HTTPS server that answers ``ok``; yields its port."""
    file = folder / "server.pem"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.settimeout(60)
                    tls.recv(4096)
                    tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


@pytest.fixture
def https_server(authority: Authority, tmp_path: Path) -> Callable[..., object]:
    """``with https_server(host) as port``: what a client of the proxy sees for that host."""

    def start(host: str, *, address: bool = False) -> object:
        return serving(presented(authority, host, address=address), tmp_path)

    return start
