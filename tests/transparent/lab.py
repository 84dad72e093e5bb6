"""A small internet in network namespaces: a client whose only road is the proxy's machine, and servers behind it. Needs root and `ip`."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.harness import ADDON, LedgerView, base_environment, wait_for
from tollkeeper.cli.demo_provider import Authority, FakeProvider
from tollkeeper.cli.demo_provider.authority import make_authority

AI_V4, AI_V6 = "20.10.0.10", "2600:10::10"
OTHER_V4, OTHER_V6 = "20.20.0.20", "2600:20::20"
DECOY_V4 = "20.30.0.30"
PRIVATE_V4 = "10.77.0.7"
CLIENT_V4, CLIENT_V6 = "10.99.1.2", "fd99:1::2"
INSIDE_V4, INSIDE_V6 = "10.99.1.1", "fd99:1::1"
OUTSIDE_V4, OUTSIDE_V6 = "10.99.2.1", "fd99:2::1"
SERVER_V4, SERVER_V6 = "10.99.2.2", "fd99:2::2"
AI_HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
OTHER_HOST = "packages.example"
FRONT_HOST = "front.example"
"""No AI host by name; its address is the AI hosts'."""
PRIVATE_HOST = "intranet.example"
METADATA_HOST = "metadata.example"
ADDRESSES = [
    *((host, address) for host in AI_HOSTS for address in (AI_V4, AI_V6)),
    *((OTHER_HOST, address) for address in (OTHER_V4, OTHER_V6)),
    (FRONT_HOST, AI_V4),
    (PRIVATE_HOST, PRIVATE_V4),
    (METADATA_HOST, "169.254.169.254"),
]
PROXY_UID, JOB_UID = 64_010, 64_020
JOB_RANGE = (700_000, 765_535)
"""As in /etc/subuid: what the job can become by itself, without root, in a user namespace of its own."""
RELAY_PORT = 8022
TRANSPARENT_PORT = 8878
A_RULE = {
    "nft": ("add table inet probe; add chain inet probe out { type nat hook output priority 0; }",),
    "iptables": ("-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT", "--to-ports", "1"),
}
PACKET_FILTERS = [tool for tool in A_RULE if shutil.which(tool)]
MAIN = (sys.executable, "-c", "from tollkeeper.cli.main import main; main()")


def missing() -> str:
    """Why the lab cannot be built here; empty when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if not shutil.which("ip"):
        return "needs iproute2 (apt-get install iproute2)"
    if not shutil.which("setpriv"):
        return "needs util-linux (apt-get install util-linux): its setpriv runs the clients as other users"
    if not PACKET_FILTERS:
        return "needs a packet filter (apt-get install nftables)"
    name = f"tk-probe-{secrets.token_hex(3)}"
    wanted = [
        ("no network namespaces here", ["ip", "netns", "add", name]),
        ("no virtual cables here", ["ip", "-n", name, "link", "add", "p0", "type", "veth", "peer", "name", "p1"]),
        ("no IPv6 here", ["ip", "-n", name, "-6", "addr", "add", CLIENT_V6, "dev", "p0"]),
    ]
    for tool in PACKET_FILTERS:
        wanted.append((f"the kernel takes no rules of {tool}", ["ip", "netns", "exec", name, tool, *A_RULE[tool]]))
    try:
        for without, command in wanted:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            if done.returncode:
                return f"{without}: {done.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


def closed_folder() -> Path | None:
    """The outermost folder above the interpreter that other users may not enter; None when they can reach it."""
    above = reversed(Path(sys.base_prefix).parents)
    return next((folder for folder in above if not folder.stat().st_mode & stat.S_IXOTH), None)


def sh(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace."""

    name: str

    def command(self, *command: str, uid: int | None = None, opened: bool = False) -> list[str]:
        """``command`` inside, as a user without any capability when ``uid`` is given. ``opened``: as root, for users it will become."""
        whole = ["ip", "netns", "exec", self.name]
        if uid is None and not opened:
            return [*whole, *command]
        # An interpreter in a folder that is closed to others: here, and only here, that folder is an empty one that holds it.
        closed, held = closed_folder(), f"/run/tk-{self.name}"
        opening = (
            f"mkdir -p {held} && mount --bind {sys.base_prefix} {held} && mount -t tmpfs -o mode=755 none {closed} && "
            f"mkdir -p {sys.base_prefix} && mount --bind {held} {sys.base_prefix} && "
        )
        drop = (
            "exec"
            if uid is None
            else f"exec setpriv --reuid {uid} --regid {uid} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
        )
        return [*whole, "sh", "-c", f'{opening if closed else ""}{drop} "$@"', "sh", *command]

    def run(
        self,
        *command: str,
        uid: int | None = None,
        opened: bool = False,
        environment: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*command, uid=uid, opened=opened),
            env=dict(environment) if environment is not None else base_environment(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def inside[Result](self, function: Callable[[], Result]) -> Result:
        """Call ``function`` in a thread that lives in this namespace: its sockets stay there."""
        answer: Future[Result] = Future()

        def work() -> None:
            try:
                answer.set_result(self.enter(function))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return answer.result(120)

    def enter[Result](self, function: Callable[[], Result]) -> Result:
        """Move this thread here for good, and call ``function``."""
        with Path(f"/run/netns/{self.name}").open() as handle:
            os.setns(handle.fileno(), os.CLONE_NEWNET)
        return function()


@dataclass(slots=True)
class Servers:
    """What stands in the server namespace. ``seen``: (what, from whom) of everything that reached the AI addresses past the provider."""

    provider: FakeProvider
    other: Authority
    seen: list[tuple[str, str]] = field(default_factory=list)
    other_requests: list[bytes] = field(default_factory=list)
    _open: list[Any] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def serve(self, ready: threading.Event, problems: list[BaseException]) -> None:
        async def main() -> None:
            await self.provider.start("0.0.0.0", 8443)
            for host, port, note in (
                (AI_V4, 22, "tcp-22"),
                (AI_V4, 9443, "tcp-9443"),
                (DECOY_V4, 443, "decoy"),
                (PRIVATE_V4, 443, "private"),
                (OTHER_V4, 53, "tcp-53"),
            ):
                await self._listen(self._witness(note), host, port)
            for host in (AI_V4, AI_V6):
                await self._forward(host, 443, self.provider.port)
                await self._listen(self._plain, host, 80)
                await self._udp(host)
            context = self.other.server_context()
            for host in (OTHER_V4, OTHER_V6):
                await self._listen(self._plain, host, 443, ssl=context)
                await self._listen(self._plain, host, 80)
            await self._listen(self._plain, OTHER_V4, RELAY_PORT)
            ready.set()
            while not self._stop.is_set():
                await asyncio.sleep(0.05)
            for listening in self._open:
                listening.close()
            await self.provider.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.1)

        try:
            asyncio.run(main())
        except BaseException as error:
            problems.append(error)
            ready.set()

    async def _listen(self, handle: Any, host: str, port: int, **options: Any) -> None:
        self._open.append(await asyncio.start_server(handle, host, port, **options))

    def _witness(self, note: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.seen.append((note, writer.get_extra_info("peername")[0]))
            writer.close()

        return handle

    async def _plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.other_requests.append(head)
                if writer.get_extra_info("sockname")[0] in {AI_V4, AI_V6}:
                    self.seen.append(("plain-http", writer.get_extra_info("peername")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
                await writer.drain()
        writer.close()

    async def _forward(self, host: str, port: int, target: int) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.seen.append(("tls-443", writer.get_extra_info("peername")[0]))
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)

            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                with contextlib.suppress(OSError):
                    while data := await source.read(65536):
                        sink.write(data)
                        await sink.drain()
                sink.close()

            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

        await self._listen(handle, host, port)

    async def _udp(self, host: str) -> None:
        seen = self.seen

        class Sink(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                seen.append(("udp-443", addr[0]))

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Sink, local_addr=(host, 443))
        self._open.append(transport)

    def stop(self) -> None:
        self._stop.set()


@dataclass(slots=True)
class Lab:
    """Three namespaces in a row: client, proxy, servers."""

    folder: Path
    client: Namespace
    proxy: Namespace
    server: Namespace
    servers: Servers

    @property
    def tag(self) -> str:
        return self.client.name.rpartition("-")[2]

    @property
    def trust(self) -> Path:
        """The roots of the fake internet: the AI provider's and the other server's."""
        return self.folder / "internet.pem"

    def hosts_file(self, namespace: Namespace, extra: Sequence[tuple[str, str]] = ()) -> None:
        """What names mean there. The first line for a name wins."""
        folder = Path("/etc/netns") / namespace.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{address} {host}" for host, address in (*extra, *ADDRESSES)]
        (folder / "hosts").write_text("\n".join(("127.0.0.1 localhost", "::1 localhost", *lines, "")))


@contextlib.contextmanager
def built(folder: Path) -> Iterator[Lab]:
    """The lab, taken down at the end."""
    tag = secrets.token_hex(3)
    names = [f"tk-{role}-{tag}" for role in ("cli", "prx", "srv")]
    client, proxy, server = map(Namespace, names)
    servers = Servers(FakeProvider(), make_authority((OTHER_HOST, FRONT_HOST)))
    lab = Lab(folder, client, proxy, server, servers)
    lab.trust.write_bytes(servers.provider.authority.root_pem + servers.other.root_pem)
    try:
        for name in names:
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        _wire(lab)
        for namespace in (client, proxy, server):
            lab.hosts_file(namespace)
        ready, problems = threading.Event(), list[BaseException]()
        serving = threading.Thread(target=lambda: server.enter(lambda: servers.serve(ready, problems)), daemon=True)
        serving.start()
        assert ready.wait(60), "the servers did not start"
        assert not problems, problems
        yield lab
        servers.stop()
        serving.join(60)
    finally:
        servers.stop()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def _wire(lab: Lab) -> None:
    client, proxy, server = lab.client.name, lab.proxy.name, lab.server.name
    for near, near_end, far, far_end in ((client, "c0", proxy, "c1"), (proxy, "s1", server, "s0")):
        sh("ip", "-n", near, "link", "add", near_end, "type", "veth", "peer", "name", far_end, "netns", far)
        sh("ip", "-n", near, "link", "set", near_end, "up")
        sh("ip", "-n", far, "link", "set", far_end, "up")
    addresses = (
        (client, "c0", CLIENT_V4, CLIENT_V6), (proxy, "c1", INSIDE_V4, INSIDE_V6), (proxy, "s1", OUTSIDE_V4, OUTSIDE_V6),
        (server, "s0", SERVER_V4, SERVER_V6),
    )  # fmt: skip
    for name, link, four, six in addresses:
        sh("ip", "-n", name, "addr", "add", f"{four}/24", "dev", link)
        sh("ip", "-n", name, "addr", "add", f"{six}/64", "dev", link, "nodad")
    for address in (AI_V4, OTHER_V4, DECOY_V4, PRIVATE_V4):
        sh("ip", "-n", server, "addr", "add", f"{address}/32", "dev", "lo")
    for address in (AI_V6, OTHER_V6):
        sh("ip", "-n", server, "addr", "add", f"{address}/128", "dev", "lo", "nodad")
    for name, four, six in ((client, INSIDE_V4, INSIDE_V6), (proxy, SERVER_V4, SERVER_V6), (server, OUTSIDE_V4, OUTSIDE_V6)):
        sh("ip", "-n", name, "route", "add", "default", "via", four)
        sh("ip", "-n", name, "-6", "route", "add", "default", "via", six)
    # A machine that forwards: without our rules the client does reach everything, or the tests would prove nothing.
    sh(
        "ip",
        "netns",
        "exec",
        proxy,
        "sh",
        "-c",
        "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
    )


@dataclass(slots=True)
class Sidecar:
    """A proxy inside the lab."""

    process: subprocess.Popen[bytes]
    home: Path
    log: Path
    port: int

    @property
    def ledger(self) -> LedgerView:
        return LedgerView(self.home / "ledger.db")

    @property
    def bundle(self) -> Path:
        return self.home / "ca" / "bundle.pem"

    @property
    def root(self) -> Path:
        return self.home / "ca" / "root.pem"

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def sidecar(lab: Lab, name: str, *arguments: str, namespace: Namespace | None = None, policy: str = "") -> Iterator[Sidecar]:
    """``tollkeeper start --foreground`` inside the lab, once it serves."""
    home = lab.folder / name
    home.mkdir(mode=0o700, exist_ok=True)
    if policy:
        (home / "policy.toml").write_text(policy)
    log = lab.folder / f"{name}.log"
    environment = {**base_environment(), "TOLLKEEPER_HOME": str(home), "SSL_CERT_FILE": str(lab.trust), "PYTHONPATH": str(ADDON)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            (namespace or lab.proxy).command(*MAIN, "start", "--foreground", "--port", "8877", *arguments),
            env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    found = Sidecar(process, home, log, 8877)
    try:
        wait_for(lambda: process.poll() is not None or (home / "proxy.json").exists(), "the sidecar serves", 120)
        assert process.poll() is None, log.read_text()
        assert json.loads((home / "proxy.json").read_text())["pid"] == process.pid
        yield found
    finally:
        found.stop()
    assert "Traceback" not in found.said(), found.said()


def client_environment(lab: Lab, running: Sidecar) -> dict[str, str]:
    """A client that trusts what its machine trusts and our root, and names no proxy at all."""
    bundle = lab.folder / "client-bundle.pem"
    bundle.write_bytes(lab.trust.read_bytes() + running.root.read_bytes())
    bundle.chmod(0o644)
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return {**base_environment(), **dict.fromkeys(names, str(bundle)), "HOME": "/tmp"}


def has_answers(found: bytes, count: int) -> bool:
    """Whether ``count`` whole HTTP/1.1 answers have come; a body has its length, or it is chunked and the last."""
    for _ in range(count):
        head, end, body = found.partition(b"\r\n\r\n")
        if not end:
            return False
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if length is None:
            return found.endswith(b"\r\n0\r\n\r\n")
        if len(body) < int(length[1]):
            return False
        found = body[int(length[1]) :]
    return True


def raw(namespace: Namespace, address: tuple[str, int], data: bytes = b"", *, answers: int = 1) -> bytes:
    """What comes back for ``data`` over TCP: ``answers`` of HTTP, or what came until the other side closed the connection.

    Raises ``OSError`` when refused, and when a minute brings neither.
    """

    def talk() -> bytes:
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(data)
            found = b""
            while not has_answers(found, answers) and (piece := connection.recv(65536)):
                found += piece
            return found

    return namespace.inside(talk)


def tls_answer(
    namespace: Namespace, address: tuple[str, int], sni: str | None, request: bytes, trust: Path | None, *, wait: float = 60.0
) -> tuple[bytes, bytes]:
    """(the certificate that was shown, the answer) over TLS. ``trust`` None: anything is believed. Raises ``OSError``."""

    def talk() -> tuple[bytes, bytes]:
        context = ssl.create_default_context(cafile=str(trust)) if trust else ssl.create_default_context()
        if trust is None or sni is None:
            context.check_hostname = False
        if trust is None:
            context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(address, timeout=wait) as plain,
            context.wrap_socket(plain, server_hostname=sni) as connection,
        ):
            certificate = connection.getpeercert(binary_form=True) or b""
            connection.sendall(request)
            found = b""
            with contextlib.suppress(ssl.SSLEOFError):
                while not has_answers(found, 1) and (piece := connection.recv(65536)):
                    found += piece
            return certificate, found

    return namespace.inside(talk)
