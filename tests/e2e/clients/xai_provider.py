"""A fake xAI over gRPC, as a process of its own: the official library's server and the SDK's own messages, so nothing here is ours.

Arguments: a file with key and certificate, a file to write the bill to (one JSON object a line). Prints its port. A call is steered by
JSON in the request's ``user`` field.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from xai_sdk.proto import (
    auth_pb2,
    auth_pb2_grpc,
    chat_pb2,
    chat_pb2_grpc,
    deferred_pb2,
    image_pb2,
    image_pb2_grpc,
    tokenize_pb2,
    tokenize_pb2_grpc,
    usage_pb2,
)

WORDS = (" the", " cost", " of", " a", " call", " is", " known", " when")
LOCK = threading.Lock()
BILL = Path(sys.argv[2])
TICKS = {"input": 2000, "cached": 500, "output": 5000}
"""grok-4-fast: $0.20, $0.05 and $0.50 per million; 10^10 ticks a dollar."""


def bill(**entry: Any) -> None:
    with LOCK, BILL.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def usage(script: dict[str, Any], output: int) -> usage_pb2.SamplingUsage:
    prompt, cached, reasoning = script.get("input", 210), script.get("cached", 90), script.get("reasoning", 12)
    tools = [usage_pb2.SERVER_SIDE_TOOL_WEB_SEARCH] * script.get("searches", 0)
    found = usage_pb2.SamplingUsage(
        prompt_tokens=prompt,
        prompt_text_tokens=prompt,
        cached_prompt_text_tokens=cached,
        completion_tokens=output,
        reasoning_tokens=reasoning,
        total_tokens=prompt + output + reasoning,
        server_side_tools_used=tools,
    )
    if script.get("ticks", True):
        found.cost_in_usd_ticks = (
            (prompt - cached) * TICKS["input"]
            + cached * TICKS["cached"]
            + (output + reasoning) * TICKS["output"]
            + len(tools) * 50_000_000
        )
    return found


class Chat(chat_pb2_grpc.ChatServicer):
    def __init__(self) -> None:
        self.numbers = iter(range(1, 1_000_000))
        self.deferred: dict[str, tuple[int, Any]] = {}

    def _script(self, request: Any, context: Any) -> dict[str, Any]:
        script: dict[str, Any] = json.loads(request.user or "{}")
        bill(seen=request.model, meta=sorted(key for key, _ in context.invocation_metadata()))
        if status := script.get("status"):
            context.abort(getattr(grpc.StatusCode, status), "the fake provider was told to fail")
        return script

    def _response(self, request: Any, script: dict[str, Any]) -> Any:
        response = chat_pb2.GetChatCompletionResponse(id=f"fake-{next(self.numbers)}", model="grok-4-fast-reasoning")
        response.usage.CopyFrom(usage(script, len(WORDS)))
        output = response.outputs.add(finish_reason="REASON_STOP")
        output.message.role = chat_pb2.ROLE_ASSISTANT
        output.message.content = "".join(WORDS)
        bill(id=response.id, model=request.model, ticks=response.usage.cost_in_usd_ticks, complete=True)
        return response

    def GetCompletion(self, request: Any, context: Any) -> Any:
        script = self._script(request, context)
        if script.get("gzip"):
            context.set_compression(grpc.Compression.Gzip)
        time.sleep(script.get("delay", 0))
        return self._response(request, script)

    def GetCompletionChunk(self, request: Any, context: Any) -> Iterator[Any]:
        script = self._script(request, context)
        if script.get("gzip"):
            context.set_compression(grpc.Compression.Gzip)
        name = f"fake-{next(self.numbers)}"
        words = WORDS * script.get("rounds", 1)
        sent = 0

        def over() -> None:
            whole = sent == len(words)
            ticks = usage(script, sent).cost_in_usd_ticks if whole else 0
            bill(id=name, model=request.model, output=sent, ticks=ticks, complete=whole)

        context.add_callback(over)
        for number, word in enumerate(words, 1):
            if number == script.get("die_after"):
                context.abort(grpc.StatusCode.INTERNAL, "the fake provider was told to fail")
            time.sleep(script.get("delay", 0))
            sent = number
            last = sent == len(words)
            chunk = chat_pb2.GetChatCompletionChunk(id=name, model="grok-4-fast-reasoning")
            chunk.usage.CopyFrom(usage(script if last else script | {"searches": 0}, sent))
            output = chunk.outputs.add(finish_reason="REASON_STOP" if last else None)
            output.delta.role = chat_pb2.ROLE_ASSISTANT
            output.delta.content = word
            yield chunk

    def StartDeferredCompletion(self, request: Any, context: Any) -> Any:
        script = self._script(request, context)
        name = f"deferred-{next(self.numbers)}"
        self.deferred[name] = (script.get("polls", 1), self._response(request, script))
        return deferred_pb2.StartDeferredResponse(request_id=name)

    def GetDeferredCompletion(self, request: Any, context: Any) -> Any:
        polls, response = self.deferred[request.request_id]
        self.deferred[request.request_id] = (polls - 1, response)
        if polls > 0:
            return chat_pb2.GetDeferredCompletionResponse(status=deferred_pb2.PENDING)
        return chat_pb2.GetDeferredCompletionResponse(status=deferred_pb2.DONE, response=response)


class Image(image_pb2_grpc.ImageServicer):
    def GenerateImage(self, request: Any, context: Any) -> Any:
        ticks = 200_000_000 * max(1, request.n)
        bill(id="", model=request.model, ticks=ticks, complete=True)
        images = [
            image_pb2.GeneratedImage(url="https://fake.test/1.png", respect_moderation=True) for _ in range(max(1, request.n))
        ]
        return image_pb2.ImageResponse(images=images, model=request.model, usage=usage_pb2.SamplingUsage(cost_in_usd_ticks=ticks))


class Tokenize(tokenize_pb2_grpc.TokenizeServicer):
    def TokenizeText(self, request: Any, context: Any) -> Any:
        return tokenize_pb2.TokenizeTextResponse(tokens=[tokenize_pb2.Token(token_id=1, string_token="a")], model=request.model)


class Auth(auth_pb2_grpc.AuthServicer):
    def get_api_key_info(self, request: Any, context: Any) -> Any:
        return auth_pb2.ApiKey(name="fake")


server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
chat_pb2_grpc.add_ChatServicer_to_server(Chat(), server)
image_pb2_grpc.add_ImageServicer_to_server(Image(), server)
tokenize_pb2_grpc.add_TokenizeServicer_to_server(Tokenize(), server)
auth_pb2_grpc.add_AuthServicer_to_server(Auth(), server)
pem = Path(sys.argv[1]).read_bytes()
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
server.start()
sys.stdout.write(f"{port}\n")
sys.stdout.flush()
server.wait_for_termination()
