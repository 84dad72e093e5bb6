"""Service tokens: by a stored digest they are static, by exchange behind Access they are verified."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

import pytest

from identity.issuers import AUD, TEAM, FakeClock, Web, key, parsed, service, verifier_for
from tollkeeper.core.principal import Assurance
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.services import (
    FAILED_S,
    MAX_EXCHANGES,
    MAX_PAIRS,
    Pair,
    Services,
    compare,
    presented,
    secret_digest,
    single_header,
)

SECRET = "cfast_" + "aB3" * 16
CLIENT = f"{'0f' * 16}.access"
TEXT = f"""
[issuer.access]
kind = "cloudflare-access"
team = "acme"
audience = "{AUD}"

[service.nightly]
client_id = "{CLIENT}"
secret_sha256 = ["{secret_digest(SECRET)}", "{secret_digest("next")}"]
groups = "batch"
"""
ONE = key("one")


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


def test_a_known_secret_proves_its_service_statically() -> None:
    found = compare(parsed(TEXT).services, Pair(CLIENT, SECRET))
    assert isinstance(found, Proof)
    assert found.principal.assurance is Assurance.STATIC
    assert (found.principal.subject, found.principal.issuer) == (CLIENT, TEAM)
    assert found.principal.groups == {"batch"}


def test_the_next_secret_works_beside_the_present_one_while_rotating() -> None:
    assert isinstance(compare(parsed(TEXT).services, Pair(CLIENT, "next")), Proof)


@pytest.mark.parametrize("pair", [Pair(CLIENT, "x"), Pair("other.access", SECRET), Pair("", ""), Pair(CLIENT, SECRET + "\ud800"),
                                  Pair(CLIENT, SECRET * 100), Pair("\0", "\0")])  # fmt: skip
def test_a_wrong_secret_and_an_unknown_id_are_refused_alike(pair: Pair) -> None:
    found = compare(parsed(TEXT).services, pair)
    assert isinstance(found, Refused)
    assert found.why is Why.SECRET
    assert SECRET not in f"{found!r}{pair!r}"


def test_a_pair_comes_in_two_headers_or_in_one() -> None:
    assert presented([CLIENT], [SECRET], []) == Pair(CLIENT, SECRET)
    one = f'{{"cf-access-client-id": "{CLIENT}", "CF-Access-Client-Secret": "{SECRET}"}}'
    assert presented([], [], [one]) == Pair(CLIENT, SECRET)
    assert presented([], [], []) is None


@pytest.mark.parametrize(
    ("ids", "secrets", "single"),
    [([CLIENT], [], []), ([], [SECRET], []), ([CLIENT, CLIENT], [SECRET], []), ([CLIENT], [SECRET, SECRET], []),
     ([], [], ['{"cf-access-client-secret":"x"}']), ([], [], ["{}", "{}"]),
     ([CLIENT], [SECRET], [f'{{"cf-access-client-id":"{CLIENT}","cf-access-client-secret":"x"}}'])],
)  # fmt: skip
def test_half_a_pair_or_two_are_refused(ids: list[str], secrets: list[str], single: list[str]) -> None:
    found = presented(ids, secrets, single)
    assert isinstance(found, Refused)
    assert found.why is Why.SEVERAL


@pytest.mark.parametrize("value", ["", "{", "Bearer sk-x", "{}", '{"cf-access-client-id":1,"cf-access-client-secret":2}', "[]" * 900,
                                   '{"cf-access-client-id":' + "[" * 900])  # fmt: skip
def test_another_header_is_no_pair(value: str) -> None:
    assert single_header(value) is None


def with_whoami(start: Start, test: Callable[[Web, Services, FakeClock], Awaitable[None]]) -> None:
    async def run() -> None:
        async with start() as web:
            clock = FakeClock()
            config = parsed(TEXT.split("[service")[0])
            config = replace(config, issuers=tuple(replace(row, whoami=f"{web.url}/whoami") for row in config.issuers))
            await test(web, Services(config, verifier_for(config, ONE, clock=clock), clock), clock)

    asyncio.run(run())


def test_an_exchange_behind_access_verifies_the_service_until_its_assertion_ends(web: Start) -> None:
    async def test(server: Web, services: Services, clock: FakeClock) -> None:
        server.answer("/whoami", ONE.sign(service()).encode())
        found = await asyncio.gather(*(services.prove(Pair(CLIENT, SECRET)) for _ in range(64)))
        assert all(isinstance(one, Proof) and one.principal.assurance is Assurance.VERIFIED for one in found)
        assert len(server.asked) == 1
        assert server.asked[0].headers["cf-access-client-secret"] == SECRET
        clock.now_s += 3_500
        await services.prove(Pair(CLIENT, SECRET))
        assert len(server.asked) == 1
        clock.now_s += 200
        assert isinstance(await services.prove(Pair(CLIENT, SECRET)), Refused)
        assert len(server.asked) == 2

    with_whoami(web, test)


@pytest.mark.parametrize("case", ["refused", "login page", "another service", "a person", "down"])
def test_an_exchange_that_proves_nothing_is_refused_and_not_repeated_at_once(web: Start, case: str) -> None:
    from identity.issuers import person

    async def test(server: Web, services: Services, clock: FakeClock) -> None:
        match case:
            case "refused":
                server.answer("/whoami", b"forbidden", 403)
            case "login page":
                server.answer("/whoami", b"<html>Sign in</html>")
            case "another service":
                server.answer("/whoami", ONE.sign(service(common_name="other.access")).encode())
            case "a person":
                server.answer("/whoami", ONE.sign(person()).encode())
            case _:
                server.routes["/whoami"] = lambda _: b""
        for _ in range(10):
            found = await services.prove(Pair(CLIENT, SECRET))
            assert isinstance(found, Refused)
            assert SECRET not in repr(found)
        assert len(server.asked) == 1
        clock.now_s += FAILED_S
        await services.prove(Pair(CLIENT, SECRET))
        assert len(server.asked) == 2

    with_whoami(web, test)


def test_a_flood_of_made_up_pairs_is_no_flood_of_requests_and_pushes_nobody_out(web: Start) -> None:
    async def test(server: Web, services: Services, _: FakeClock) -> None:
        server.answer("/whoami", ONE.sign(service()).encode())
        assert isinstance(await services.prove(Pair(CLIENT, SECRET)), Proof)
        server.answer("/whoami", b"forbidden", 403)
        flood = [Pair(f"{number}.access", SECRET) for number in range(200)]
        found = await asyncio.gather(*(services.prove(pair) for pair in flood))
        assert all(isinstance(one, Refused) for one in found)
        assert len(server.asked) == 1 + MAX_EXCHANGES
        for number in range(MAX_PAIRS + 1):
            services._failed[b"%d" % number] = (2**40, found[0])
        await services.prove(Pair("one-more.access", SECRET))
        assert len(services._failed) == MAX_PAIRS
        assert isinstance(await services.prove(Pair(CLIENT, SECRET)), Proof)
        assert len(server.asked) == 2 + MAX_EXCHANGES

    with_whoami(web, test)


@pytest.mark.parametrize("pair", [Pair("a\r\nx: y", SECRET), Pair(CLIENT, "a\r\nx: y"), Pair(CLIENT, ""), Pair("\u0430", SECRET)])
def test_a_pair_that_could_break_a_request_is_never_sent(web: Start, pair: Pair) -> None:
    async def test(server: Web, services: Services, _: FakeClock) -> None:
        assert isinstance(await services.prove(pair), Refused)
        assert server.asked == []

    with_whoami(web, test)
