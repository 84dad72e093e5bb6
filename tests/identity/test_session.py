"""Renewing against an issuer that misbehaves: no session is lost by a bad answer, and none becomes somebody else's."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from identity.issuers import Web, jwks, key, parsed, subject
from tollkeeper.core.clock import system_clock
from tollkeeper.identity.answers import IdentityError
from tollkeeper.identity.issuer import Issuer
from tollkeeper.identity.jwks import key_source
from tollkeeper.identity.oauth import Tokens
from tollkeeper.identity.session import Sessions
from tollkeeper.identity.token_store import FileStore, Session
from tollkeeper.identity.verify import Verifier

ONE = key("one")


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


class Person:
    """Somebody with a session at a server of the test's own."""

    def __init__(self, web: Web, folder: Path) -> None:
        self.web = web
        web.answer("/keys", jwks(ONE))
        web.answer("/.well-known/openid-configuration", {"issuer": web.url, "token_endpoint": f"{web.url}/token"})
        text = f'[issuer.idp]\nkind = "oidc"\nissuer = "{web.url}"\nclient_id = "tollkeeper"\njwks_url = "{web.url}/keys"\n'
        config = parsed(text)
        self.row: Issuer = config.issuers[0]
        self.verifier = Verifier(config, {"idp": key_source(self.row, None)}, system_clock)
        self.store = FileStore(folder)
        self.sessions = Sessions(self.store, self.verifier, folder, system_clock)

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        return ONE.sign(subject(iss=self.web.url, iat=now - 5, exp=now + 600, **claims))

    def gives(self, token: str, **more: Any) -> None:
        self.web.answer("/token", {"access_token": token, "token_type": "Bearer", **more})

    def has(self, seconds_left: int) -> Session:
        now = int(time.time())
        session = Session(
            issuer="idp", subject="ada", token=self.token(), refresh_token="old", expires_at=now + seconds_left, logged_in_at=now
        )
        self.store.save(session)
        return session


def with_person(start: Start, folder: Path, test: Callable[[Person], Awaitable[None]]) -> None:
    async def run() -> None:
        async with start() as web:
            person = Person(web, folder)
            await test(person)
            await person.verifier.close()

    asyncio.run(run())


def test_an_issuer_that_does_not_rotate_keeps_its_refresh_token(web: Start, tmp_path: Path) -> None:
    async def test(person: Person) -> None:
        person.has(5)
        person.gives("opaque", id_token=person.token())
        found = await person.sessions.current(person.row)
        assert found is not None
        assert found[0].refresh_token == "old"
        assert json.loads((tmp_path / "idp.json").read_text())["refresh_token"] == "old"

    with_person(web, tmp_path, test)


def test_a_session_never_becomes_somebody_elses(web: Start, tmp_path: Path) -> None:
    async def test(person: Person) -> None:
        person.has(5)
        person.gives(person.token(sub="eve"), refresh_token="new")
        with pytest.raises(IdentityError, match="for somebody else"):
            await person.sessions.current(person.row)
        assert person.store.load("idp") is None

    with_person(web, tmp_path, test)


def test_the_new_refresh_token_is_kept_even_when_the_rest_cannot_be_used(web: Start, tmp_path: Path) -> None:
    async def test(person: Person) -> None:
        person.has(5)
        person.gives(person.token(aud="other"), refresh_token="new")
        with pytest.raises(IdentityError, match="another audience"):
            await person.sessions.current(person.row)
        kept = person.store.load("idp")
        assert kept is not None
        assert kept.refresh_token == "new"
        person.gives(person.token(), refresh_token="newer")
        assert await person.sessions.current(person.row) is not None
        assert "refresh_token=new&" in person.web.asked[-1].body

    with_person(web, tmp_path, test)


@pytest.mark.parametrize(("seconds_left", "goes_on"), [(60, True), (-1, False)])
def test_a_refusal_that_is_not_final_ends_a_session_only_with_its_token(
    web: Start, tmp_path: Path, seconds_left: int, goes_on: bool
) -> None:
    async def test(person: Person) -> None:
        session = person.has(seconds_left)
        person.web.answer("/token", {"error": "temporarily_unavailable"}, 503)
        if goes_on:
            found = await person.sessions.current(person.row)
            assert found is not None
            assert found[0] == session
        else:
            with pytest.raises(IdentityError, match=r"does not renew the session \(temporarily_unavailable\)"):
                await person.sessions.current(person.row)
        assert person.store.load("idp") == session

    with_person(web, tmp_path, test)


def test_a_kept_token_that_is_not_good_any_more_is_told(web: Start, tmp_path: Path) -> None:
    async def test(person: Person) -> None:
        session = person.has(600)
        person.store.save(replace(session, token=key("foreign").sign(subject(iss=person.web.url))))
        with pytest.raises(IdentityError, match="is not good any more"):
            await person.sessions.current(person.row)

    with_person(web, tmp_path, test)


def test_a_log_in_that_proves_nobody_is_not_kept(web: Start, tmp_path: Path) -> None:
    async def test(person: Person) -> None:
        with pytest.raises(IdentityError, match="gave no token that can be verified"):
            await person.sessions.begin(person.row, Tokens(access_token="opaque"))
        with pytest.raises(IdentityError, match="another audience"):
            await person.sessions.begin(person.row, Tokens(access_token="opaque", id_token=person.token(aud="other")))
        assert person.store.load("idp") is None

    with_person(web, tmp_path, test)
