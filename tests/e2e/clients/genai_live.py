"""The official Google SDK in a Live session, with nothing configured but its environment."""

import asyncio
import sys
from typing import Any

from common import QUESTION, report, steer
from google import genai

STEER = steer(input_tokens=210, output_tokens=40)
MODEL = "gemini-live-2.5-flash"
TURNS = 2


async def cases() -> None:
    client = genai.Client(api_key="test", http_options={"headers": STEER})
    config: Any = {"response_modalities": ["TEXT"]}
    with report("live") as case:
        async with client.aio.live.connect(model=MODEL, config=config) as session:
            for _ in range(TURNS):  # two turns on one socket
                await session.send_client_content(turns={"role": "user", "parts": [{"text": QUESTION}]}, turn_complete=True)
                case.text = ""
                async for message in session.receive():
                    case.add(message, message.text)


if "async" in sys.argv[1:]:
    asyncio.run(cases())
