"""The official OpenAI SDK over WebSockets: Responses and Realtime, with nothing configured but its environment."""

import asyncio
import contextlib
import sys
from typing import Any

import openai
from common import QUESTION, report, steer

STEER = steer(input_tokens=210, output_tokens=40, cache_read_tokens=90)
TURNS = 2


def opened(client: openai.OpenAI) -> Any:
    """The blocking socket uses one TLS connection from two threads and loses its first write now and then: see e2e/ws.py."""
    for _ in range(4):
        with contextlib.suppress(TimeoutError):
            return client.responses.connect(extra_headers=STEER).enter()
    return client.responses.connect(extra_headers=STEER).enter()


def sync_cases(client: openai.OpenAI) -> None:
    for turn in range(TURNS):  # two turns on one socket
        if turn == 0:
            connection = opened(client)
        with report(f"responses-{turn + 1}") as case:
            connection.response.create(model="gpt-5-mini", input=QUESTION)
            for event in connection:
                fail(event)
                case.add(getattr(event, "response", None), getattr(event, "delta", None))
                if event.type in {"response.completed", "response.failed"}:
                    break
    connection.close()


async def async_cases(client: openai.AsyncOpenAI) -> None:
    manager = client.realtime.connect(model="gpt-realtime", extra_headers=STEER)
    async with manager as connection:
        with report("realtime") as case:
            session: Any = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}
            await connection.session.update(session=session)
            item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
            await connection.conversation.item.create(item=item)
            await connection.response.create()
            async for event in connection:
                fail(event)
                case.add(getattr(event, "response", None), getattr(event, "delta", None))
                if event.type == "response.done":
                    break


async def live_case(client: openai.AsyncOpenAI) -> None:
    async with client.live.connect(extra_headers=STEER) as connection:
        with report("live") as case:
            await connection.send({"type": "session.start", "session": {"model": "gpt-live-1"}})
            async for event in connection:
                fail(event)
                if event.type == "session.started":
                    await connection.send({"type": "session.close"})
                case.add(getattr(event, "session", None), None)
                if event.type == "session.closed":
                    break


def fail(event: Any) -> None:
    """An error event as an exception, so that it is reported like one."""
    if event.type == "error":
        error = RuntimeError(getattr(event, "message", None) or event.error.message)
        error.status_code = getattr(event, "status", 400)  # type: ignore[attr-defined]
        raise error


if "sync" in sys.argv[1:]:
    sync_cases(openai.OpenAI(api_key="sk-test", max_retries=0))
if "async" in sys.argv[1:]:
    asyncio.run(async_cases(openai.AsyncOpenAI(api_key="sk-test", max_retries=0)))
    asyncio.run(live_case(openai.AsyncOpenAI(api_key="sk-test", max_retries=0)))
