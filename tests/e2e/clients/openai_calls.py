"""Every way the official OpenAI SDK calls a model, with nothing configured but its environment."""

import asyncio
import sys

import openai
from common import MESSAGES, QUESTION, report, steer

STEER = steer(input_tokens=210, output_tokens=40, cache_read_tokens=90)


def sync_cases(client: openai.OpenAI) -> None:
    chat, responses = client.chat.completions, client.responses
    usage = {"include_usage": True}
    with report("chat") as case:
        case.answer = chat.create(model="gpt-4o-mini", messages=MESSAGES, extra_headers=STEER)
    with report("chat-stream") as case:
        for chunk in chat.create(model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_headers=STEER):
            case.add(chunk, chunk.choices[0].delta.content)
    with report("chat-stream-usage") as case:
        stream = chat.create(model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options=usage, extra_headers=STEER)
        for chunk in stream:
            case.add(chunk, chunk.choices[0].delta.content if chunk.choices else None)
    with report("responses") as case:
        case.answer = responses.create(model="gpt-5-mini", input=QUESTION, extra_headers=STEER)
    with report("responses-stream") as case:
        for event in responses.create(model="gpt-5-mini", input=QUESTION, stream=True, extra_headers=STEER):
            case.add(getattr(event, "response", None), getattr(event, "delta", None))


async def async_cases(client: openai.AsyncOpenAI) -> None:
    chat, responses = client.chat.completions, client.responses
    with report("async-chat") as case:
        case.answer = await chat.create(model="gpt-4o-mini", messages=MESSAGES, extra_headers=STEER)
    with report("async-chat-stream") as case:
        async for chunk in await chat.create(model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_headers=STEER):
            case.add(chunk, chunk.choices[0].delta.content)
    with report("async-responses") as case:
        case.answer = await responses.create(model="gpt-5-mini", input=QUESTION, extra_headers=STEER)
    with report("async-responses-stream") as case:
        async for event in await responses.create(model="gpt-5-mini", input=QUESTION, stream=True, extra_headers=STEER):
            case.add(getattr(event, "response", None), getattr(event, "delta", None))
    await client.close()


if "sync" in sys.argv[1:]:
    sync_cases(openai.OpenAI(api_key="sk-test"))
if "async" in sys.argv[1:]:
    asyncio.run(async_cases(openai.AsyncOpenAI(api_key="sk-test")))
