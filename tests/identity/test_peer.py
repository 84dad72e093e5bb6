"""The process at the other end: found by the kernel, described by its folder and repository, and never waited for."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tollkeeper.core.principal import Assurance
from tollkeeper.identity.git_place import Place, place_of, repository_of
from tollkeeper.identity.local import local_principal, user_name
from tollkeeper.identity.peer import GONE_UID, Peer, Peers
from tollkeeper.identity.peer_linux import Owners, command_name, container_in, owner_uid, socket_owner
from tollkeeper.identity.peer_macos import parse_connections, parse_folder

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's tables")


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted


async def searched(peers: Peers, connection: str = "one") -> None:
    future = peers._looks[connection].future
    if future is not None:
        await asyncio.wait([future], timeout=60)


@linux
def test_the_kernel_names_the_owner_of_a_connection(connection: tuple[socket.socket, socket.socket]) -> None:
    client, _ = connection
    owner = socket_owner(client.getsockname(), client.getpeername())
    assert owner == (os.getuid(), os.fstat(client.fileno()).st_ino)


@linux
def test_an_address_that_is_not_connected_has_no_owner() -> None:
    assert socket_owner(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


@linux
def test_a_child_is_found_with_its_folder_and_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/topic/x\n")
    (tmp_path / ".git" / "config").write_text('[remote "origin"]\n\turl = https://user:secret@github.com/acme/app.git\n')
    (tmp_path / "src").mkdir()
    (tmp_path / "agent.py").write_text(
        "import socket, sys\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\nsys.stdin.read()\n"
    )

    owners = Owners()

    async def run() -> Peer | None:
        peers = Peers(lambda client, server: owners.find(client, server, time.monotonic() + 60))
        server = socket.create_server(("127.0.0.1", 0))
        command = [sys.executable, str(tmp_path / "agent.py"), str(server.getsockname()[1]), "--key=secret"]
        child = subprocess.Popen(command, cwd=tmp_path / "src", stdin=subprocess.PIPE)
        try:
            accepted, address = await asyncio.to_thread(server.accept)
            peers.begin("one", address, server.getsockname())
            await searched(peers)
            with accepted:
                return await peers.get("one")
        finally:
            child.communicate()
            server.close()
            peers.close()

    found = asyncio.run(run())
    assert found is not None
    assert (found.uid, found.command) == (os.getuid(), "agent.py")
    assert found.folder == str(tmp_path / "src")
    assert found.place == Place("github.com/acme/app", "topic/x", str(tmp_path))
    assert "secret" not in repr(found)
    assert found.principal.assurance is Assurance.LOCAL_LOGIN
    assert found.principal.subject == user_name(os.getuid())


@linux
def test_a_client_that_asks_and_is_gone_is_not_taken_for_the_proxys_own_user() -> None:
    """Its socket belongs to no process any more: its user where the kernel still knows it, else nobody's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        address = client.getsockname()
        client.sendall(b"GET / HTTP/1.1")
        client.close()
        accepted, _ = server.accept()
        with accepted:
            uid = owner_uid(address, server.getsockname())
            found = Owners().find(address, server.getsockname(), time.monotonic() + 60)
    assert uid in ({GONE_UID} if os.getuid() == 0 else {os.getuid(), GONE_UID}), "the second on kernels that do not keep it"
    assert found == Peer(uid=uid)


def test_this_machines_login_is_not_what_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "boss")
    assert local_principal().subject == user_name(os.getuid()) != "boss"


@linux
def test_a_client_that_connected_before_is_found_first(connection: tuple[socket.socket, socket.socket]) -> None:
    client, _ = connection
    owners = Owners()
    first = owners.find(client.getsockname(), client.getpeername(), time.monotonic() + 60)
    again = owners.find(client.getsockname(), client.getpeername(), time.monotonic() - 1)
    assert first is not None
    assert first.pid == os.getpid()
    assert again == first


@linux
def test_when_the_time_is_up_the_uid_is_still_known(connection: tuple[socket.socket, socket.socket]) -> None:
    client, _ = connection
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    owners = Owners()
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as other:
        owners._recent[other.pid] = None  # so it is asked before us
        found = owners.find(client.getsockname(), client.getpeername(), time.monotonic() - 1)
    assert found == Peer(uid=os.getuid())


def test_a_slow_look_up_holds_no_request_and_is_there_for_the_next() -> None:
    release = threading.Event()

    def slow(client: tuple[str, int], server: tuple[str, int]) -> Peer:
        release.wait(60)
        return Peer(uid=7, command="late")

    async def run() -> tuple[Peer | None, Peer | None]:
        peers = Peers(slow)
        peers.begin("one", ("127.0.0.1", 1), ("127.0.0.1", 2))
        first = await peers.get("one")  # answered while the finder still waits to be released
        release.set()
        await searched(peers)
        second = await peers.get("one")
        peers.end("one")
        assert await peers.get("one") is None
        peers.close()
        return first, second

    first, second = asyncio.run(run())
    assert first is None
    assert second == Peer(uid=7, command="late")


def test_whose_a_connection_is_is_known_before_the_process_is_found() -> None:
    """A flood of connections must not make another user's calls the default's."""
    release = threading.Event()

    def slow(client: tuple[str, int], server: tuple[str, int]) -> Peer:
        release.wait(60)
        return Peer(uid=7, command="late")

    async def run() -> list[tuple[bool, Peer | None]]:
        peers = Peers(slow, owner=lambda client, server: 7)
        peers.begin("one", ("127.0.0.1", 1), ("127.0.0.1", 2))
        found = [peers.at_once("one"), (False, await peers.get("one")), peers.at_once("one")]
        release.set()
        await searched(peers)
        found.append(peers.at_once("one"))
        peers.close()
        return found

    early, late = Peer(uid=7), Peer(uid=7, command="late")
    assert asyncio.run(run()) == [(False, early), (False, early), (True, early), (True, late)]


def test_the_owner_is_asked_for_an_address_of_this_machine_that_is_not_loopback() -> None:
    async def run() -> tuple[Peer | None, Peer | None]:
        owners = {("10.0.0.7", 1): 7}
        peers = Peers(lambda client, server: None, owner=lambda client, server: owners.get(client))
        peers.begin("ours", ("10.0.0.7", 1), ("10.0.0.7", 2))
        peers.begin("theirs", ("10.0.0.8", 1), ("10.0.0.7", 2))
        found = await peers.get("ours"), await peers.get("theirs")
        peers.close()
        return found

    assert asyncio.run(run()) == (Peer(uid=7), None)


@linux
def test_a_burst_of_connections_is_one_search() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(32)]
        owners = Owners()
        first = owners.find(clients[0].getsockname(), server.getsockname(), time.monotonic() + 60)
        past = time.monotonic() - 1
        assert first is not None
        assert first.pid == os.getpid()
        assert all(owners.find(client.getsockname(), server.getsockname(), past) == first for client in clients)


def test_a_finder_that_fails_costs_the_attribution_only() -> None:
    def broken(client: tuple[str, int], server: tuple[str, int]) -> Peer:
        raise RuntimeError

    async def run() -> Peer | None:
        peers = Peers(broken)
        peers.begin("one", ("::ffff:127.0.0.1", 1), ("127.0.0.1", 2))
        await searched(peers)
        peers.close()
        return await peers.get("one")

    assert asyncio.run(run()) is None


def test_a_connection_that_comes_while_the_proxy_stops_is_known_by_its_uid() -> None:
    async def run() -> Peer | None:
        peers = Peers(lambda client, server: Peer(uid=7, command="found"), owner=lambda client, server: 7)
        peers.close()
        peers.begin("late", ("127.0.0.1", 1), ("127.0.0.1", 2))
        return await peers.get("late")

    assert asyncio.run(run()) == Peer(uid=7)


def test_a_connection_from_another_machine_is_not_looked_up() -> None:
    async def run() -> bool:
        peers = Peers(lambda client, server: Peer(uid=0))
        peers.begin("one", ("10.0.0.7", 1), ("10.0.0.1", 2))
        peers.close()
        return "one" in peers._looks

    assert not asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/usr/bin/claude", "--api-key", "sk"], "claude"), (["node", "/usr/lib/node_modules/x/claude", "-p"], "claude"),
        (["python3.12", "-u", "/srv/agent.py", "--key=sk"], "agent.py"), (["python", "-m", "aider", "--key", "sk"], "aider"),
        (["bash", "-c", "curl -H 'x-api-key: sk'"], "bash"), (["node", "-e", "secret"], "node"), ([], ""),
        (["codex --key sk"], "codex"), (["python3"], "python3"), (["a\x1b[31m"], "a[31m"),
    ],
)  # fmt: skip
def test_a_command_is_named_without_its_arguments(words: list[str], name: str) -> None:
    assert command_name(words) == name


@pytest.mark.parametrize(
    "text",
    [f"0::/system.slice/docker-{'ab' * 32}.scope\n", f"1:x:/docker/{'ab' * 32}\n", f"0::/kubepods/pod1/{'ab' * 32}\n",
     f"0::/kubepods.slice/cri-containerd-{'ab' * 32}.scope"],
)  # fmt: skip
def test_a_container_is_known_by_its_control_group(text: str) -> None:
    assert container_in(text) == "abababababab"
    assert container_in("0::/user.slice/user-1000.slice\n") == ""


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/app.git", "github.com/acme/app"), ("git@github.com:acme/app.git", "github.com/acme/app"),
        ("ssh://git@GitLab.example.com:2222/a/b/c.git", "gitlab.example.com/a/b/c"),
        ("https://u:p@example.com/x/", "example.com/x"), ("/srv/git/app.git", ""), ("file:///srv/app", ""), ("", ""), ("a\x07b:c", ""),
    ],
)  # fmt: skip
def test_a_repository_is_named_alike_in_every_spelling(url: str, name: str) -> None:
    assert repository_of(url) == name


def test_a_worktree_has_its_own_branch_and_the_shared_remote(tmp_path: Path) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    own = main / ".git" / "worktrees" / "tree"
    own.mkdir(parents=True)
    tree.mkdir()
    (main / ".git" / "config").write_text(
        '[core]\n[remote "up"]\n url = a@b:no/no\n[remote "origin"]\n url = a@b.example:c/d\n[x]\n'
    )
    (own / "HEAD").write_text("a" * 40)
    (own / "commondir").write_text("../..\n")
    (tree / ".git").write_text(f"gitdir: {own}\n")
    assert place_of(tree) == Place("b.example/c/d", "a" * 12, str(tree))


def test_a_repository_without_a_remote_is_named_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "app" / ".git").mkdir(parents=True)
    (tmp_path / "app" / ".git" / "HEAD").write_text("ref: refs/heads/main")
    assert place_of(tmp_path / "app") == Place("app", "main", str(tmp_path / "app"))


@pytest.mark.parametrize("trap", ["pipe", "loop", "huge", "binary"])
def test_a_repository_that_is_a_trap_holds_nobody(tmp_path: Path, trap: str) -> None:
    git = tmp_path / ".git"
    match trap:
        case "pipe":
            git.mkdir()
            os.mkfifo(git / "HEAD")
            os.mkfifo(git / "config")
        case "loop":
            git.symlink_to(git)
        case "huge":
            git.mkdir()
            (git / "HEAD").write_bytes(b"ref: refs/heads/" + b"x" * 10_000_000)
        case _:
            git.write_bytes(b"gitdir: \0\xff")
    found = place_of(tmp_path)
    assert len(found.branch) <= 200


def test_lsof_is_read_for_the_right_end_of_the_connection() -> None:
    text = "p10\ncproxy\nu501\nn127.0.0.1:8877->127.0.0.1:50000\np11\ncnode\nu502\nn127.0.0.1:50000->127.0.0.1:8877\n"
    assert parse_connections(text, 50000, 8877) == (11, 502, "node")
    assert parse_connections("garbage\n", 1, 2) == (0, None, "")
    assert parse_folder("p11\nfcwd\nn/Users/ada/app\n") == "/Users/ada/app"
