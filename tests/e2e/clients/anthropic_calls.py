"""Every way the official Anthropic SDK calls a model, with nothing configured but its environment."""

import asyncio
import sys
from typing import Any

import anthropic
from common import MESSAGES, report, steer

STEER = steer(input_tokens=210, output_tokens=40, cache_read_tokens=90, cache_write_5m_tokens=30)
ASK: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": MESSAGES, "extra_headers": STEER}


def sync_cases(client: anthropic.Anthropic) -> None:
    with report("messages") as case:
        case.answer = client.messages.create(**ASK)
    with report("messages-stream") as case:
        for event in client.messages.create(**ASK, stream=True):
            case.add(getattr(event, "message", None), getattr(getattr(event, "delta", None), "text", None))
    with report("messages-helper") as case, client.messages.stream(**ASK) as stream:
        for text in stream.text_stream:
            case.add(None, text)
        case.answer = stream.get_final_message()


async def async_cases(client: anthropic.AsyncAnthropic) -> None:
    with report("async-messages") as case:
        case.answer = await client.messages.create(**ASK)
    with report("async-messages-helper") as case:
        async with client.messages.stream(**ASK) as stream:
            async for text in stream.text_stream:
                case.add(None, text)
            case.answer = await stream.get_final_message()
    await client.close()


if "sync" in sys.argv[1:]:
    sync_cases(anthropic.Anthropic(api_key="sk-test"))
if "async" in sys.argv[1:]:
    asyncio.run(async_cases(anthropic.AsyncAnthropic(api_key="sk-test")))
