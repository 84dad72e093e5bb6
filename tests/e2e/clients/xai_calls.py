"""Every way the official xAI SDK calls a model, with nothing configured but its environment."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
from common import QUESTION, Case
from common import report as report_any
from xai_sdk import AsyncClient, Client
from xai_sdk.chat import user

MODEL = os.environ.get("FAKE_MODEL", "grok-4-fast")


def ask(**script: Any) -> dict[str, Any]:
    """What to ask, and how the fake provider shall answer."""
    return {"model": MODEL, "messages": [user(QUESTION)], "user": json.dumps(script), "max_tokens": 500}


@contextlib.contextmanager
def report(name: str) -> Iterator[Case]:
    """As for the other SDKs; a gRPC error says its code and message by methods."""
    with report_any(name) as case:
        try:
            yield case
        except grpc.RpcError as error:
            raise RuntimeError(f"{error.code()}: {error.details()}") from None


def keep(case: Case, answer: Any) -> None:
    """A whole answer; its text is no list of parts here."""
    case.answer, case.text = answer, answer.content


def sync_cases(client: Client) -> None:
    with report("sample") as case:
        keep(case, client.chat.create(**ask()).sample())
    with report("sample-computed") as case:
        keep(case, client.chat.create(**ask(ticks=False)).sample())
    with report("sample-gzip") as case:
        keep(case, client.chat.create(**ask(gzip=True, input=4000)).sample())
    with report("stream") as case:
        for response, chunk in client.chat.create(**ask(searches=2)).stream():
            case.add(response, chunk.content)
    with report("stream-gzip") as case:
        for response, chunk in client.chat.create(**ask(gzip=True, ticks=False, rounds=20)).stream():
            case.add(response, chunk.content)
    with report("defer") as case:
        keep(case, client.chat.create(**ask(polls=2)).defer(interval=timedelta(milliseconds=50)))


async def async_cases(client: AsyncClient) -> None:
    with report("async-sample") as case:
        keep(case, await client.chat.create(**ask()).sample())
    with report("async-stream") as case:
        async for response, chunk in client.chat.create(**ask()).stream():
            case.add(response, chunk.content)


def other_cases(client: Client) -> None:
    with report("image") as case:
        case.answer = client.image.sample(model="grok-imagine-image", prompt="a toll booth")
    with report("tokenize") as case:
        case.text = str(len(client.tokenize.tokenize_text(text="a", model=MODEL)))
    with report("key") as case:
        case.text = client.auth.get_api_key_info().name


def leaving(client: Client) -> None:
    with report("leaving") as case:
        for response, chunk in client.chat.create(**ask(rounds=50, delay=0.02)).stream():
            case.add(response, chunk.content)
            if case.pieces == 10:
                break


def failing(client: Client) -> None:
    with report("fails-midway") as case:
        for response, chunk in client.chat.create(**ask(die_after=6)).stream():
            case.add(response, chunk.content)
    with report("fails-at-once") as case:
        keep(case, client.chat.create(**ask(status="RESOURCE_EXHAUSTED")).sample())
    with report("bad-key") as case:
        keep(case, client.chat.create(**ask(status="UNAUTHENTICATED")).sample())


if "sync" in sys.argv[1:]:
    sync_cases(Client(api_key="xai-test"))
if "async" in sys.argv[1:]:

    async def run() -> None:
        client = AsyncClient(api_key="xai-test")
        await async_cases(client)
        await client.close()

    asyncio.run(run())
for name, cases in (("other", other_cases), ("leaving", leaving), ("failing", failing)):
    if name in sys.argv[1:]:
        cases(Client(api_key="xai-test"))
