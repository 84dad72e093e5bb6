"""Logging in against a certified provider: both flows, every way they end, rotation, a race of processes."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from identity.certified import RESOURCE, Browser, Certified
from tollkeeper.core.clock import system_clock
from tollkeeper.core.principal import Assurance
from tollkeeper.identity import browser, device
from tollkeeper.identity.answers import IdentityError, Proof
from tollkeeper.identity.config import IdentityConfig, parse_identity
from tollkeeper.identity.jwks import key_source
from tollkeeper.identity.oauth import Endpoints, find_endpoints
from tollkeeper.identity.session import Sessions
from tollkeeper.identity.token_store import FileStore, Session
from tollkeeper.identity.verify import Verifier

ADDON = Path(__file__).resolve().parents[2] / "addon"


def config_at(provider: Certified, *, client: str = "cli", resource: bool = True) -> IdentityConfig:
    text = (
        f'[issuer.idp]\nkind = "oidc"\nissuer = "{provider.issuer}"\nclient_id = "{client}"\n'
        'scopes = ["openid", "email", "offline_access"]\n'
    )
    extra = f'audience = "{RESOURCE}"\nresource = "{RESOURCE}"\ngroups = "groups"\n' if resource else 'subject = "{email}"\n'
    return parse_identity(Path("identity.toml"), text + extra)


class Desk:
    """A person's side of the log-in."""

    def __init__(self, provider: Certified, folder: Path, **options: object) -> None:
        self.provider = provider
        config = config_at(provider, **options)  # type: ignore[arg-type]
        (self.row,) = config.issuers
        self.verifier = Verifier(config, {"idp": key_source(self.row, folder / "jwks")}, system_clock)
        self.store = FileStore(folder / "sessions")
        self.sessions = Sessions(self.store, self.verifier, folder, system_clock)
        self.slept: list[float] = []

    async def quick(self, seconds: float) -> None:
        """Waiting, noted and cut short."""
        self.slept.append(seconds)
        await asyncio.sleep(0.01)

    async def log_in(self, name: str = "ada") -> tuple[Session, Proof]:
        endpoints = await find_endpoints(self.row, None)
        code = await device.begin(self.row, endpoints)
        page = asyncio.create_task(asyncio.to_thread(Browser().log_in, code.verification_uri_complete, name))
        tokens = await device.wait(self.row, endpoints, code, sleep=self.quick)
        await page
        return await self.sessions.begin(self.row, tokens)

    def age(self, seconds_left: int = 10) -> Session:
        """Make the kept session be about to end."""
        session = self.store.load("idp")
        assert session is not None
        aged = replace(session, expires_at=int(time.time()) + seconds_left)
        self.store.save(aged)
        return aged


def at_desk(provider: Certified, folder: Path, test: Callable[[Desk], Awaitable[None]], **options: object) -> None:
    async def run() -> None:
        desk = Desk(provider, folder, **options)
        try:
            await test(desk)
        finally:
            await desk.verifier.close()

    asyncio.run(run())


def test_a_person_logs_in_on_another_screen(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        session, proof = await desk.log_in()
        assert proof.principal.subject == "ada"
        assert proof.principal.assurance is Assurance.VERIFIED
        assert proof.principal.groups == {"research", "all"}
        assert desk.slept[0] == device.INTERVAL_S  # this provider names no interval
        assert session.refresh_token
        current = await desk.sessions.current(desk.row)
        assert current is not None
        assert current[0] == session

    at_desk(provider, tmp_path, test)


def test_the_id_token_identifies_where_the_access_token_is_opaque(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        _, proof = await desk.log_in("Bo")
        assert proof.principal.subject == "bo@example.com"

    at_desk(provider, tmp_path, test, resource=False)


def test_a_person_logs_in_with_the_browser_of_this_machine(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        endpoints = await find_endpoints(desk.row, None)
        async with browser.listening(desk.row, endpoints) as login:
            query = parse_qs(urlsplit(login.url).query)
            assert query["code_challenge_method"] == ["S256"]
            assert login.verifier not in login.url
            page = asyncio.create_task(asyncio.to_thread(Browser().log_in, login.url, "ada"))
            tokens = await browser.finish(desk.row, endpoints, login)
            assert "You are logged in" in (await page).text
        _, proof = await desk.sessions.begin(desk.row, tokens)
        assert proof.principal.subject == "ada"

    at_desk(provider, tmp_path, test)


def test_a_code_without_its_verifier_is_worth_nothing(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        endpoints = await find_endpoints(desk.row, None)
        async with browser.listening(desk.row, endpoints) as login:
            page = asyncio.create_task(asyncio.to_thread(Browser().log_in, login.url, "ada"))
            login.verifier = "x" * 43
            with pytest.raises(IdentityError, match="invalid_grant"):
                await browser.finish(desk.row, endpoints, login)
            await page

    at_desk(provider, tmp_path, test)


def test_a_denial_in_the_browser_ends_the_wait(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        endpoints = await find_endpoints(desk.row, None)
        code = await device.begin(desk.row, endpoints)
        visitor = Browser()
        form = visitor.open(code.verification_uri_complete).form()
        assert form is not None
        await asyncio.to_thread(visitor.open, form[0], {**form[1], "abort": "yes"})
        with pytest.raises(IdentityError, match="refused in the browser"):
            await device.wait(desk.row, endpoints, code, sleep=desk.quick)

    at_desk(provider, tmp_path, test)


def test_a_code_that_has_expired_ends_the_wait(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        endpoints = await find_endpoints(desk.row, None)
        code = await device.begin(desk.row, endpoints)
        assert code.expires_in_s == 1
        with pytest.raises(IdentityError, match="nobody entered the code in time"):
            await device.wait(desk.row, endpoints, code, sleep=desk.quick)
        assert desk.slept == []  # not even asked: the code would be dead before the first answer
        with pytest.raises(IdentityError, match="nobody entered the code in time"):
            await device.wait(desk.row, endpoints, replace(code, expires_in_s=600), sleep=desk.quick)
        assert desk.slept  # asked until the provider itself said expired_token

    at_desk(provider, tmp_path, test, client="hasty")


def test_slow_down_slows_this_and_every_later_question(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        endpoints = await find_endpoints(desk.row, None)
        slow = replace(endpoints, token_endpoint=f"{provider.issuer}/slow/3/{tmp_path.name.replace('_', '').lower()}/token")
        code = await device.begin(desk.row, endpoints)
        page = asyncio.create_task(asyncio.to_thread(Browser().log_in, code.verification_uri_complete, "ada"))
        await device.wait(desk.row, slow, code, sleep=desk.quick)
        await page
        assert desk.slept[:5] == [5, 10, 15, 20, 20][: len(desk.slept)]

    at_desk(provider, tmp_path, test)


def test_a_session_about_to_end_is_renewed_and_the_new_token_written_first(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        aged = desk.age()
        current = await desk.sessions.current(desk.row)
        assert current is not None
        assert current[0].refresh_token != aged.refresh_token
        assert current[0].expires_at > aged.expires_at
        assert desk.store.load("idp") == current[0]

    at_desk(provider, tmp_path, test)


def test_a_session_that_was_copied_and_used_twice_is_ended_and_says_so(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        stolen = desk.age()
        await desk.sessions.current(desk.row)
        desk.store.save(stolen)
        with pytest.raises(IdentityError, match=r"has ended: log in again with `tollkeeper login idp`"):
            await desk.sessions.current(desk.row)
        assert await desk.sessions.current(desk.row) is None

    at_desk(provider, tmp_path, test)


def test_32_tasks_that_need_a_new_token_at_once_ask_for_one(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        desk.age()
        before = provider.counts()
        found = await asyncio.gather(*(desk.sessions.current(desk.row) for _ in range(32)))
        after = provider.counts()
        assert after["refresh"] - before["refresh"] == 1
        assert after["refused"] == before["refused"]
        assert len({session.token for session, _ in filter(None, found)}) == 1

    at_desk(provider, tmp_path, test)


RACER = """
import asyncio, sys
from pathlib import Path
from identity.certified import Certified
from identity.test_login import Desk
async def main():
    desk = Desk(Certified(sys.argv[1], None), Path(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    session, _ = await desk.sessions.current(desk.row)
    print(session.expires_at)
asyncio.run(main())
"""


def test_processes_that_need_a_new_token_at_once_ask_for_one(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        desk.age()

    at_desk(provider, tmp_path, test)
    before = provider.counts()
    environment = {"PYTHONPATH": f"{ADDON}:{ADDON.parent / 'tests'}", "PATH": ""}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, provider.issuer, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(4)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60)[0] for racer in racers]
    after = provider.counts()
    assert len(set(said)) == 1
    assert (after["refresh"] - before["refresh"], after["refused"] - before["refused"]) == (1, 0)


def test_an_issuer_that_is_down_ends_no_session_that_is_still_good(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        aged = desk.age(60)
        gone = replace(desk.row, discovery="http://127.0.0.1:1/")
        current = await desk.sessions.current(gone)
        assert current is not None
        assert current[0] == aged
        desk.age(-1)
        with pytest.raises(IdentityError, match="cannot be renewed now"):
            await desk.sessions.current(gone)
        assert desk.store.load("idp") is not None

    at_desk(provider, tmp_path, test)


def test_a_caller_who_gives_up_does_not_lose_the_new_token(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        aged = desk.age()
        task = asyncio.create_task(desk.sessions.current(desk.row))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while (kept := desk.store.load("idp")) is not None and kept.refresh_token == aged.refresh_token:
            await asyncio.sleep(0.01)
            if task.cancelled() and len(asyncio.all_tasks()) == 1:
                break  # it was given up before anything was asked
        current = await desk.sessions.current(desk.row)
        assert current is not None

    at_desk(provider, tmp_path, test)


def test_logging_out_forgets_and_revokes(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.log_in()
        kept = desk.age()
        assert await desk.sessions.end(desk.row)
        assert not await desk.sessions.end(desk.row)
        assert await desk.sessions.current(desk.row) is None
        desk.store.save(kept)
        with pytest.raises(IdentityError, match="has ended"):
            await desk.sessions.current(desk.row)

    at_desk(provider, tmp_path, test)


def test_a_provider_without_a_client_or_a_grant_says_what_is_missing(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        endpoints = await find_endpoints(desk.row, None)
        with pytest.raises(IdentityError, match="add client_id"):
            await device.begin(replace(desk.row, client=None), endpoints)
        bare = Endpoints(issuer=endpoints.issuer, token_endpoint=endpoints.token_endpoint)
        with pytest.raises(IdentityError, match="--browser"):
            await device.begin(desk.row, bare)
        with pytest.raises(IdentityError, match="--device"):
            async with browser.listening(desk.row, bare):
                pytest.fail("it must not listen")
        unknown = replace(desk.row, client=replace(desk.row.client, id="nobody"))  # type: ignore[type-var]
        with pytest.raises(IdentityError, match="invalid_client"):
            await device.begin(unknown, endpoints)

    at_desk(provider, tmp_path, test)


def test_tokens_are_never_in_what_a_session_says_of_itself(provider: Certified, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        session, proof = await desk.log_in()
        said = f"{session!r}{proof!r}{desk.row!r}"
        assert session.token not in said
        assert session.refresh_token not in said
        assert json.loads(session.to_json())["token"] == session.token

    at_desk(provider, tmp_path, test)
