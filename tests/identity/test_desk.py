"""The desk: everything a connection and a request offer, answered in one call, for many callers at once."""

import asyncio
import base64
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.issuers import FakeClock, Web, jwks, key, parsed, subject
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.channels import OnNoIdentity
from tollkeeper.identity.desk import MAX_PASSWORD_HEADER_CHARS, Desk, Folder, basic
from tollkeeper.identity.handles import ANY_UID, HandleBook, mint
from tollkeeper.identity.local import user_name
from tollkeeper.identity.peer import GONE_UID, Peer, Peers
from tollkeeper.identity.services import secret_digest

ONE = key("one")
UID = os.getuid()
ADA = Principal(subject="ada@example.com", issuer="https://a.example", channel="login", assurance=Assurance.VERIFIED)
HERE = Principal(subject="here", assurance=Assurance.LOCAL_LOGIN)


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


def authorization(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def at_the_desk(
    start: Start,
    folder: Path,
    test: Callable[[Desk, Web, FakeClock], Awaitable[None]],
    rule: OnNoIdentity = OnNoIdentity.DEFAULT,
) -> None:
    async def run() -> None:
        async with start() as web:
            web.answer("/keys", jwks(ONE))
            config = parsed(
                f'[issuer.oidc]\nkind = "oidc"\nissuer = "{web.url}"\naudience = "tollkeeper"\njwks_url = "{web.url}/keys"\n'
                f'[service.nightly]\nclient_id = "n.access"\nsecret_sha256 = "{secret_digest("hush-hush")}"\n'
            )
            clock = FakeClock()
            desk = Desk(
                config, folder=Folder(folder), clock=clock, default=HERE, on_no_identity=rule,
                peers=Peers(lambda client, server: None),
            )  # fmt: skip
            try:
                await test(desk, web, clock)
            finally:
                await desk.close()

    asyncio.run(run())


def test_a_handle_identifies_every_request_of_its_connection(web: Start, tmp_path: Path) -> None:
    async def test(desk: Desk, _: Web, clock: FakeClock) -> None:
        login, handle = mint(ADA, uid=UID, expires_at=int(clock.now_s) + 60)
        desk.handles.add(handle)
        assert isinstance(await desk.password("c", [authorization(login.user, login.password)]), Proof)
        found = await desk.identify("c", [("x-api-key", "sk-1234567890")])
        assert (found.principal.subject, found.principal.channel) == ("ada@example.com", "handle")
        assert (await desk.identify("other", [])).principal == HERE
        clock.now_s += 60
        ended = await desk.identify("c", [])
        assert ended.refusal is not None
        assert ended.refusal.why is Why.EXPIRED
        desk.disconnected("c")
        assert (await desk.identify("c", [])).principal == HERE

    at_the_desk(web, tmp_path, test)


def test_a_token_may_come_as_the_proxy_password_or_in_a_header(web: Start, tmp_path: Path) -> None:
    async def test(desk: Desk, server: Web, _: FakeClock) -> None:
        token = ONE.sign(subject(iss=server.url))
        found = await desk.password("c", [authorization("jwt", token)])
        assert isinstance(found, Proof)
        assert found.principal.channel == "proxy-password"
        by_header = await desk.identify("d", [("X-Tollkeeper-Token", token)])
        assert (by_header.principal.subject, by_header.principal.channel) == ("ada", "header")
        both = await desk.identify("c", [("X-Tollkeeper-Token", token)])
        assert both.refusal is None

    at_the_desk(web, tmp_path, test)


@pytest.mark.parametrize(
    "values",
    [["Bearer x"], ["Basic !!!"], ["Basic"], ["Basic " + base64.b64encode(b"no-colon").decode()], ["Basic eDp5", "Basic eDp5"],
     ["x" * 20_000], ["Basic " + base64.b64encode(b"\xff:\xff").decode()], [authorization("run-x", "guess")]],
)  # fmt: skip
def test_a_wrong_proxy_password_refuses_the_calls_of_its_connection(web: Start, tmp_path: Path, values: list[str]) -> None:
    async def test(desk: Desk, _: Web, __: FakeClock) -> None:
        assert isinstance(await desk.password("c", values), Refused)
        found = await desk.identify("c", [])
        assert found.refusal is not None

    at_the_desk(web, tmp_path, test)


def test_a_connection_cannot_become_somebody_elses(web: Start, tmp_path: Path) -> None:
    async def test(desk: Desk, _: Web, clock: FakeClock) -> None:
        until = int(clock.now_s) + 60
        eve = Principal(subject="eve@example.com", issuer="https://a.example", assurance=Assurance.VERIFIED)
        made = [mint(principal, uid=UID, expires_at=until) for principal in (ADA, eve)]
        for _login, handle in made:
            desk.handles.add(handle)
        first, second = (authorization(login.user, login.password) for login, _ in made)
        assert isinstance(await desk.password("c", [first]), Proof)
        assert isinstance(await desk.password("c", [first]), Proof)  # Deno repeats it inside the tunnel
        assert isinstance(await desk.password("c", [second]), Refused)

    at_the_desk(web, tmp_path, test)


def test_each_request_of_one_connection_is_whose_token_it_carries_itself(web: Start, tmp_path: Path) -> None:
    """Keep-alive, and the streams of HTTP/2: what one request proved is worth nothing to the next."""

    async def test(desk: Desk, server: Web, clock: FakeClock) -> None:
        tokens = {name: ONE.sign(subject(iss=server.url, sub=name)) for name in ("ada", "bo")}
        asked = ["ada", "", "bo", "ada", "ada", "", "", "bo"] * 4

        async def who(name: str) -> str:
            fields = [(b"Cf-Access-Token", tokens[name].encode())] if name else []
            found = desk.at_once("one", fields) or await desk.identify(
                "one", [(header.decode(), value.decode()) for header, value in fields]
            )
            return found.principal.subject

        expected = [name or HERE.subject for name in asked]
        assert [await who(name) for name in asked] == expected
        assert await asyncio.gather(*(who(name) for name in asked)) == expected

    at_the_desk(web, tmp_path, test)


def test_anonymous_calls_are_refused_where_the_policy_says_so(web: Start, tmp_path: Path) -> None:
    async def test(desk: Desk, _: Web, __: FakeClock) -> None:
        found = await desk.identify("c", [("cf-access-authenticated-user-email", "ada@example.com")])
        assert found.refusal is not None
        assert found.refusal.why is Why.MISSING

    at_the_desk(web, tmp_path, test, OnNoIdentity.REFUSE)


def test_two_people_and_a_service_get_their_own_among_256_calls_at_once(web: Start, tmp_path: Path) -> None:
    async def test(desk: Desk, server: Web, clock: FakeClock) -> None:
        login, handle = mint(ADA, uid=UID, expires_at=int(clock.now_s) + 60)
        desk.handles.add(handle)
        token = ONE.sign(subject(iss=server.url, sub="bo"))

        async def one(number: int) -> tuple[int, str]:
            connection = f"c{number}"
            if number % 3 == 0:
                await desk.password(connection, [authorization(login.user, login.password)])
                headers = [("accept", "*/*")]
            elif number % 3 == 1:
                headers = [("Cf-Access-Token", token)]
            else:
                headers = [("cf-access-client-id", "n.access"), ("cf-access-client-secret", "hush-hush")]
            found = await desk.identify(connection, headers)
            desk.disconnected(connection)
            return number % 3, found.principal.subject

        found = set(await asyncio.gather(*(one(number) for number in range(256))))
        assert found == {(0, "ada@example.com"), (1, "bo"), (2, "n.access")}
        assert len(server.asked) == 1

    at_the_desk(web, tmp_path, test)


def test_no_secret_of_any_channel_shows_in_what_the_desk_says(web: Start, tmp_path: Path) -> None:
    async def test(desk: Desk, server: Web, clock: FakeClock) -> None:
        login, handle = mint(ADA, uid=UID, expires_at=int(clock.now_s) + 60)
        desk.handles.add(handle)
        token = ONE.sign(subject(iss=server.url, private="canary-claim"))
        canaries = [
            login.password,
            token,
            token.split(".")[1][:40],
            "canary-claim",
            "canary-secret",
            "sk-canary-key",
            "hush-hush",
        ]
        said = [repr(await desk.password("c", [authorization(login.user, login.password)]))]
        for headers in (
            [("x-tollkeeper-token", token)],
            [("x-tollkeeper-token", token), ("cf-access-token", token)],
            [("x-tollkeeper-token", token[:-9])],
            [("cf-access-client-id", "n.access"), ("cf-access-client-secret", "hush-hush")],
            [("cf-access-client-id", "n.access"), ("cf-access-client-secret", "canary-secret")],
            [("authorization", "Bearer sk-canary-key-0")],
        ):
            for connection in ("c", "d"):
                found = await desk.identify(connection, headers)
                said.append(f"{found!r} {found.refusal}")
        said += [
            repr(desk.describe()),
            repr(desk.config),
            *(file.read_text("latin-1") for file in tmp_path.rglob("*") if file.is_file()),
        ]
        assert [canary for canary in canaries if any(canary in text for text in said)] == []

    at_the_desk(web, tmp_path, test)


def test_a_handle_is_refused_to_another_user_even_while_nobody_has_time_to_look_for_the_process(tmp_path: Path) -> None:
    flooded = threading.Event()

    def never(client: tuple[str, int], server: tuple[str, int]) -> Peer | None:
        flooded.wait(60)
        return None

    async def run() -> tuple[Proof | Refused | None, Proof | Refused | None]:
        peers = Peers(never, owner=lambda client, server: client[1])
        desk = Desk(folder=Folder(tmp_path), default=HERE, peers=peers)
        login, handle = mint(ADA, uid=UID, expires_at=2**40)
        desk.handles.add(handle)
        answers = []
        for connection, uid in (("mine", UID or 0), ("theirs", UID + 1)):
            desk.connected(connection, ("127.0.0.1", uid, 0, 0), ("127.0.0.1", 1))
            answers.append(await desk.password(connection, [authorization(login.user, login.password)]))
        flooded.set()
        await desk.close()
        return answers[0], answers[1]

    mine, theirs = asyncio.run(run())
    assert isinstance(mine, Proof)
    assert isinstance(theirs, Refused)


def test_a_connection_whose_user_cannot_be_known_any_more_is_nobodys(tmp_path: Path) -> None:
    async def run() -> tuple[Principal, Refused | Proof | None]:
        peers = Peers(lambda client, server: None, owner=lambda client, server: GONE_UID)
        desk = Desk(folder=Folder(tmp_path), default=HERE, peers=peers)
        login, handle = mint(ADA, uid=UID, expires_at=2**40)
        desk.handles.hold(handle)
        desk.connected("gone", ("127.0.0.1", 1), ("127.0.0.1", 2))
        found = (await desk.identify("gone", [])).principal
        shown = await desk.password("gone", [authorization(login.user, login.password)])
        await desk.close()
        return found, shown

    found, shown = asyncio.run(run())
    assert (found.subject, found.assurance) == ("anonymous", Assurance.NONE)
    assert isinstance(shown, Refused)


def test_logins_of_this_machine_are_in_the_groups_that_the_document_gives_them(tmp_path: Path) -> None:
    """And nobody of the same name at an issuer is."""
    mine, other = user_name(UID), user_name(UID + 1)
    config = parsed(f'static_groups = {{ research = ["{mine}", "{other}"], ops = ["{mine}", "{ADA.subject}"] }}\n')

    async def run() -> list[frozenset[str]]:
        desk = Desk(
            config, folder=Folder(tmp_path), peers=Peers(lambda client, server: None, owner=lambda client, server: client[1])
        )
        for connection, uid in (("mine", UID), ("other", UID + 1)):
            desk.connected(connection, ("127.0.0.1", uid), ("127.0.0.1", 1))
        found = [(await desk.identify(connection, [])).principal.groups for connection in ("mine", "other", "unknown")]
        login, handle = mint(ADA, uid=ANY_UID, expires_at=2**40)
        desk.handles.hold(handle)
        await desk.password("ada", [authorization(login.user, login.password)])
        found.append((await desk.identify("ada", [])).principal.groups)
        await desk.close()
        return found

    assert asyncio.run(run()) == [{"research", "ops"}, {"research"}, {"research", "ops"}, ADA.groups]


def test_a_log_out_ends_the_connections_that_are_open(tmp_path: Path) -> None:
    async def run() -> list[Principal | str]:
        now = 1_000_000_000
        desk = Desk(folder=Folder(tmp_path), default=HERE, clock=lambda: now, peers=Peers(lambda client, server: None))
        login, handle = mint(ADA, uid=UID, expires_at=2**40)
        desk.handles.add(handle)
        await desk.password("kept", [authorization(login.user, login.password)])
        found: list[Principal | str] = [(await desk.identify("kept", [])).principal.subject]
        opened = desk.at_once("kept", [])
        another = HandleBook(Folder(tmp_path).handles, lambda: now)
        another.remove(lambda handle: handle.principal.subject != ADA.subject)
        now += 2_000_000  # what is known of a connection is used again for a second
        later = desk.at_once("kept", [])
        assert later is not None
        found += [str(later.refusal), str(desk.doubt(opened))]
        await desk.close()
        return found

    subject, refusal, doubt = asyncio.run(run())
    assert subject == ADA.subject
    assert refusal == doubt == "the log-in of this proxy password was ended; log in again: `tollkeeper login`"


def test_a_state_folder_without_a_document_believes_nobody_but_this_machine(tmp_path: Path) -> None:
    async def run() -> Principal:
        desk = Desk.open(tmp_path)
        found = (await desk.identify("c", [("cf-access-token", "a.b.c")])).refusal
        assert found is not None
        try:
            return (await desk.identify("c", [])).principal
        finally:
            await desk.close()

    assert asyncio.run(run()).assurance is Assurance.LOCAL_LOGIN


def test_a_proxy_password_is_read_as_rfc_7617_says() -> None:
    assert basic(authorization("a", "b:c")) == ("a", "b:c")
    assert basic("basic " + base64.b64encode(b"a:").decode()) == ("a", "")
    assert basic(authorization("ada", "a:b:ü")) == ("ada", "a:b:ü")
    assert basic("Digest a:b") is None
    assert basic("Basic " + "A" * MAX_PASSWORD_HEADER_CHARS) is None


@given(st.text(max_size=200))
def test_no_proxy_password_crashes_its_reader(header: str) -> None:
    for value in (header, f"Basic {header}"):
        found = basic(value)
        assert found is None or len(found) == 2
