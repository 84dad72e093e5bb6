"""Every way the official Google SDK calls a model, with nothing configured but its environment."""

import asyncio
import os
import sys
from typing import Any

from common import QUESTION, report, steer
from google import genai

STEER = steer(input_tokens=210, output_tokens=40, cache_read_tokens=90, reasoning_tokens=10)
ASK: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": QUESTION, "config": {"http_options": {"headers": STEER}}}


def sync_cases(client: genai.Client) -> None:
    with report("generate") as case:
        case.answer = client.models.generate_content(**ASK)
    with report("generate-stream") as case:
        for chunk in client.models.generate_content_stream(**ASK):
            case.add(chunk, chunk.text)


async def async_cases(client: genai.Client) -> None:
    with report("async-generate") as case:
        case.answer = await client.aio.models.generate_content(**ASK)
    with report("async-generate-stream") as case:
        async for chunk in await client.aio.models.generate_content_stream(**ASK):
            case.add(chunk, chunk.text)


HEADERS = {"x-tollkeeper-token": os.environ["WHO"]} if "WHO" in os.environ else {}
"""Unlike the others, this SDK takes headers from nobody but its program."""

CLIENT = genai.Client(api_key="test", http_options={"headers": HEADERS})
if "sync" in sys.argv[1:]:
    sync_cases(CLIENT)
if "async" in sys.argv[1:]:
    asyncio.run(async_cases(CLIENT))
