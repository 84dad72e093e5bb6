"""Groups from Access's own address: asked once, kept while it is down, never another person's."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

import pytest

from identity.issuers import AUD, FakeClock, Web, jwks, key, parsed, person, service
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.get_identity import FRESH_S, RETRY_S, STALE_S, GetIdentity
from tollkeeper.identity.verify import Verifier

from identity.issuers import StaticKeys  # isort: skip

ONE = key("one")


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


def with_address(start: Start, test: Callable[[Web, Verifier, FakeClock], Awaitable[None]]) -> None:
    async def run() -> None:
        async with start() as web:
            clock = FakeClock()
            text = f'[issuer.access]\nkind = "cloudflare-access"\nteam = "acme"\naudience = "{AUD}"\ngroups = "get-identity"\n'
            config = parsed(text)
            rows = tuple(replace(row, notes={"get_identity": f"{web.url}/get-identity"}) for row in config.issuers)
            config = replace(config, issuers=rows)
            keys = {"access": StaticKeys(jwks(ONE), ("RS256",))}
            web.answer("/get-identity", {"email": "Ada@example.com", "groups": [{"id": "1", "name": "research"}, "all"]})
            await test(web, Verifier(config, keys, clock, GetIdentity(clock)), clock)

    asyncio.run(run())


def token(number: int = 0) -> str:
    return ONE.sign(person(identity_nonce=str(number), exp=1_800_000_000 + 86_400 * 3))


def groups(found: Proof | Refused) -> frozenset[str]:
    assert isinstance(found, Proof), found
    return found.principal.groups


def test_groups_are_asked_for_with_the_persons_own_token_once(web: Start) -> None:
    async def test(server: Web, verifier: Verifier, _: FakeClock) -> None:
        found = await asyncio.gather(*(verifier.verify(token(number)) for number in range(50)))
        assert {groups(one) for one in found} == {frozenset({"research", "all"})}
        assert len(server.asked) == 1
        assert server.asked[0].headers["cookie"].startswith("CF_Authorization=ey")

    with_address(web, test)


def test_the_last_known_groups_are_used_for_a_day_while_the_address_is_down(web: Start) -> None:
    async def test(server: Web, verifier: Verifier, clock: FakeClock) -> None:
        await verifier.verify(token(1))
        server.answer("/get-identity", b"", 500)
        clock.now_s += FRESH_S
        assert groups(await verifier.verify(token(2))) == {"research", "all"}
        await verifier.verify(token(3))
        assert len(server.asked) == 2
        clock.now_s += STALE_S
        found = await verifier.verify(token(4))
        assert isinstance(found, Refused)
        assert found.why is Why.GROUPS

    with_address(web, test)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"email":"eve@example.com","groups":["owners"]}', b"<html>", b'{"email":"ada@example.com","groups":[1]}']
)
def test_an_answer_about_somebody_else_is_no_answer(web: Start, body: bytes) -> None:
    async def test(server: Web, verifier: Verifier, clock: FakeClock) -> None:
        server.answer("/get-identity", body)
        found = await verifier.verify(token())
        assert isinstance(found, Refused)
        assert found.why is Why.GROUPS
        await verifier.verify(token())
        assert len(server.asked) == 1
        server.answer("/get-identity", {"email": "ada@example.com"})
        clock.now_s += RETRY_S
        assert groups(await verifier.verify(token())) == frozenset()

    with_address(web, test)


def test_a_service_is_not_asked_about(web: Start) -> None:
    async def test(server: Web, verifier: Verifier, _: FakeClock) -> None:
        assert groups(await verifier.verify(ONE.sign(service()))) == frozenset()
        assert server.asked == []

    with_address(web, test)
