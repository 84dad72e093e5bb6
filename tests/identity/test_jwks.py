"""An issuer whose keys are down, slow, rotating or garbage: calls with known keys go on, nothing waits, nothing is flooded."""

import asyncio
import json
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from identity.issuers import Web, jwks, key, parsed
from tollkeeper.identity.answers import Refused, Why
from tollkeeper.identity.issuer import Issuer
from tollkeeper.identity.jwks import FRESH_S, MISS_GAP_S, STALE_S, FetchedKeys, FileKeys, discovered, jwks_address
from tollkeeper.identity.keys import Key
from tollkeeper.identity.web import WebError

OLD, NEW = key("old"), key("new")


class Start(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[Web]: ...


class Ticks:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def row_at(url: str, **changed: str) -> Issuer:
    keys = changed.get("keys", f'jwks_url = "{url}/keys"')
    return parsed(f'[issuer.row]\nkind = "oidc"\nissuer = "{url}"\naudience = "x"\n{keys}\n').issuers[0]


def with_keys(start: Start, test: Callable[[Web, FetchedKeys, Ticks], Awaitable[None]], folder: Path | None = None) -> None:
    async def run() -> None:
        async with start() as web:
            web.answer("/keys", jwks(OLD))
            ticks = Ticks()
            source = FetchedKeys(row_at(web.url), folder, None, monotonic=ticks)
            await test(web, source, ticks)
            await source.close()

    asyncio.run(run())


async def settle(source: FetchedKeys) -> None:
    """Let a fetch that runs beside the calls come to its end."""
    if source._flight is not None:
        await asyncio.wait([source._flight])


DOWN: dict[str, Any] = {
    "an error": lambda _: (503, b"no"),
    "garbage": lambda _: (200, b"<html>captive portal</html>"),
    "10 MB": lambda _: (200, b"x" * 10_000_000),
    "an empty set": lambda _: (200, b'{"keys":[]}'),
    "a redirect": lambda _: b"HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    "a broken connection": lambda _: b"",
}


@pytest.mark.parametrize("trouble", DOWN)
def test_known_keys_are_believed_while_their_issuer_is_in_trouble(web: Start, trouble: str) -> None:
    async def test(server: Web, source: FetchedKeys, ticks: Ticks) -> None:
        assert isinstance(await source.key("old"), Key)
        server.routes["/keys"] = DOWN[trouble]
        for _ in range(5):
            ticks.now += FRESH_S + 1
            assert isinstance(await source.key("old"), Key)
            await settle(source)
        assert source.trouble
        ticks.now += STALE_S
        found = await source.key("old")
        assert isinstance(found, Refused)
        assert found.why is Why.UNREACHABLE

    with_keys(web, test)


def test_a_silent_issuer_holds_no_call_with_a_known_key(web: Start) -> None:
    async def test(server: Web, source: FetchedKeys, ticks: Ticks) -> None:
        await source.key("old")
        server.routes["/keys"] = lambda _: None
        ticks.now += FRESH_S + 1
        for _ in range(1000):
            with pytest.raises(StopIteration) as answer:  # at once: it waits for nothing
                source.key("old").send(None)
            assert isinstance(answer.value.value, Key)
            await asyncio.sleep(0)
        assert source.fetches == 2

    with_keys(web, test)


def test_a_new_key_is_found_at_once_and_the_old_one_goes_with_the_set(web: Start) -> None:
    async def test(server: Web, source: FetchedKeys, ticks: Ticks) -> None:
        await source.key("old")
        server.answer("/keys", jwks(OLD, NEW))
        ticks.now += MISS_GAP_S
        assert isinstance(await source.key("new"), Key)
        assert isinstance(await source.key("old"), Key)
        server.answer("/keys", jwks(NEW))
        ticks.now += FRESH_S + 1
        await source.key("new")
        await settle(source)
        found = await source.key("old")
        assert isinstance(found, Refused)
        assert found.why is Why.KEY

    with_keys(web, test)


def test_200_unknown_names_cost_one_fetch(web: Start) -> None:
    async def test(server: Web, source: FetchedKeys, ticks: Ticks) -> None:
        await source.key("old")
        for number in range(200):
            assert isinstance(await source.key(f"made-up-{number}"), Refused)
        assert len(server.asked) == 1
        ticks.now += MISS_GAP_S
        await asyncio.gather(*(source.key(f"made-up-{number}") for number in range(200)))
        assert len(server.asked) == 2

    with_keys(web, test)


def test_256_first_calls_share_one_fetch(web: Start) -> None:
    async def test(server: Web, source: FetchedKeys, _: Ticks) -> None:
        found = await asyncio.gather(*(source.key("old") for _ in range(256)))
        assert all(isinstance(one, Key) for one in found)
        assert len(server.asked) == 1

    with_keys(web, test)


def test_a_caller_who_leaves_takes_nobodys_keys_along(web: Start) -> None:
    async def test(server: Web, source: FetchedKeys, _: Ticks) -> None:
        gate = asyncio.Event()

        async def later(_: object) -> tuple[int, bytes]:
            await gate.wait()
            return 200, jwks(OLD)

        server.routes["/keys"] = later
        first, second = (asyncio.create_task(source.key("old")) for _ in range(2))
        while not server.asked:
            await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert isinstance(await second, Key)

    with_keys(web, test)


def test_an_issuer_without_any_key_is_asked_again_every_two_seconds(web: Start) -> None:
    async def test(server: Web, source: FetchedKeys, ticks: Ticks) -> None:
        server.routes["/keys"] = DOWN["an error"]
        for _ in range(50):
            assert isinstance(await source.key("old"), Refused)
        assert len(server.asked) == 1
        server.answer("/keys", jwks(OLD))
        ticks.now += 2
        assert isinstance(await source.key("old"), Key)

    with_keys(web, test)


def test_the_last_good_set_survives_a_restart_without_network(web: Start, tmp_path: Path) -> None:
    async def test(server: Web, source: FetchedKeys, _: Ticks) -> None:
        await source.key("old")
        (kept,) = tmp_path.glob("*.json")
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        server.routes["/keys"] = DOWN["an error"]
        again = FetchedKeys(source._row, tmp_path, None)
        assert isinstance(await again.key("old"), Key)
        await settle(again)
        other = FetchedKeys(row_at(server.url, keys=f'jwks_url = "{server.url}/other"'), tmp_path, None)
        assert isinstance(await other.key("old"), Refused)

    with_keys(web, test, tmp_path)


@pytest.mark.parametrize("damage", ["writable", "old", "garbage", "future", "pipe"])
def test_a_kept_set_that_cannot_be_trusted_is_not_used(web: Start, tmp_path: Path, damage: str) -> None:
    async def test(server: Web, source: FetchedKeys, _: Ticks) -> None:
        await source.key("old")
        (kept,) = tmp_path.glob("*.json")
        values = json.loads(kept.read_text())
        match damage:
            case "writable":
                kept.chmod(0o622)
            case "old":
                kept.write_text(json.dumps(values | {"read_at": values["read_at"] - STALE_S - 1}))
            case "future":
                kept.write_text(json.dumps(values | {"read_at": values["read_at"] + 1e6}))
            case "garbage":
                kept.write_text("{")
            case _:
                kept.unlink()
                os.mkfifo(kept)
        server.routes["/keys"] = DOWN["an error"]
        assert isinstance(await FetchedKeys(source._row, tmp_path, None).key("old"), Refused)

    with_keys(web, test, tmp_path)


def test_the_address_of_the_keys_is_discovered_once(web: Start) -> None:
    async def run() -> list[str]:
        async with web() as server:
            server.answer("/keys", jwks(OLD))
            server.answer("/.well-known/openid-configuration", {"issuer": server.url, "jwks_uri": f"{server.url}/keys"})
            ticks = Ticks()
            source = FetchedKeys(row_at(server.url, keys=""), None, None, monotonic=ticks)
            assert isinstance(await source.key("old"), Key)
            ticks.now += FRESH_S + 1
            await source.key("old")
            await settle(source)
            return [asked.target for asked in server.asked]

    assert asyncio.run(run()) == ["/.well-known/openid-configuration", "/keys", "/keys"]


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", {"issuer": "https://other.example", "jwks_uri": "https://a.example/k"},
        {"issuer": "https://a.example/", "jwks_uri": "https://a.example/k"}, {"issuer": "https://a.example"},
        {"issuer": "https://a.example", "jwks_uri": "http://a.example/k"},
        {"issuer": "https://a.example", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "https://a.example", "jwks_uri": "http://127.0.0.1/k"},
        {"issuer": "https://a.example", "jwks_uri": ["https://a.example/k"]},
    ],
)  # fmt: skip
def test_a_discovery_document_that_speaks_for_another_or_leads_elsewhere_is_refused(document: Any) -> None:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(WebError):
        jwks_address(raw, "https://a.example")


def test_keys_may_stand_at_another_host_than_the_issuer() -> None:
    raw = json.dumps({"issuer": "https://accounts.google.com", "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs"}).encode()
    assert jwks_address(raw, "https://accounts.google.com").startswith("https://www.googleapis.com")
    assert discovered(raw, "https://accounts.google.com")["jwks_uri"]


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "k8s.json"
    text = f'[issuer.k]\nkind = "kubernetes"\nissuer = "https://k.example"\naudience = "x"\njwks_file = "{file}"\n'
    row = parsed(text, tmp_path / "identity.toml").issuers[0]
    ticks = Ticks()

    async def run() -> list[bool]:
        source = FileKeys(row, monotonic=ticks)
        found = [isinstance(await source.key("old"), Key)]
        file.write_bytes(jwks(OLD))
        ticks.now += 1
        found.append(isinstance(await source.key("old"), Key))
        file.write_bytes(jwks(NEW) + b" ")
        ticks.now += 1
        found += [isinstance(await source.key("old"), Key), isinstance(await source.key("new"), Key)]
        file.write_bytes(b"half a fi")
        ticks.now += 1
        found.append(isinstance(await source.key("new"), Key))
        assert "k8s.json" in source.describe()
        return found

    assert asyncio.run(run()) == [False, True, False, True, True]
