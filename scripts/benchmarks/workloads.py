"""What is measured: each workload is one kind of request under one kind of load."""

import asyncio
import json
import os
import statistics
from dataclasses import dataclass

from .competitors import Provider, Proxy
from .load import drive, http_request, open_clients
from .processes import cpu_s

OPENAI, ANTHROPIC = "api.openai.com", "api.anthropic.com"
_QUESTION = "Explain in two sentences why the sky is blue and the sunset is red. " * 5


def _chat(prompt: str = _QUESTION, **extra: object) -> bytes:
    return json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **extra}).encode()


def _messages(**extra: object) -> bytes:
    return json.dumps(
        {"model": "claude-haiku-4-5", "max_tokens": 1024, "messages": [{"role": "user", "content": _QUESTION}], **extra}
    ).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """``events`` is the number of stream events in one answer, 0 for JSON. ``stagger_s`` spreads the starts of live streams."""

    name: str
    title: str
    host: str
    request: bytes
    connections: int
    events: int = 0
    stagger_s: float = 0.0
    live: bool = False


WORKLOADS = (
    Workload(
        name="json",
        title="small JSON, 32 connections",
        host=OPENAI,
        request=http_request(OPENAI, "/v1/chat/completions", _chat(), chunks=40),
        connections=32,
    ),
    Workload(
        name="stream",
        title="200-chunk streams, 16 connections (Anthropic)",
        host=ANTHROPIC,
        request=http_request(ANTHROPIC, "/v1/messages", _messages(stream=True), chunks=200),
        connections=16,
        events=206,
    ),
    Workload(
        name="chat-stream",
        title="200-chunk streams, 16 connections (OpenAI chat, usage not asked for)",
        host=OPENAI,
        request=http_request(OPENAI, "/v1/chat/completions", _chat(stream=True), chunks=200),
        connections=16,
        events=203,
    ),
    Workload(
        name="live",
        title="64 live streams, 40 events/s each",
        host=ANTHROPIC,
        request=http_request(ANTHROPIC, "/v1/messages", _messages(stream=True), chunks=100, delay_ms=25),
        connections=64,
        events=106,
        stagger_s=2.5,
        live=True,
    ),
    Workload(
        name="large",
        title="200 KB up and down, 8 connections",
        host=OPENAI,
        request=http_request(OPENAI, "/v1/chat/completions", _chat("All work and no play. " * 9300), text_bytes=200_000),
        connections=8,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one workload at one competitor."""

    per_second: float
    first_p50_ms: float
    first_p99_ms: float
    cpu_ms_per_answer: float
    cpu_ms_per_event: float
    driver_busy: float
    """Share of the driver's core that generator and provider used: near 1.0 they, not the proxy, set the pace."""


async def measure(workload: Workload, proxy: Proxy | None, provider: Provider, *, seconds: float) -> Measured:
    """Load one competitor (None: straight to the provider) after a short warm-up on the same connections."""
    port, ca = (proxy.port, proxy.ca) if proxy else (provider.port, provider.ca)
    clients = await open_clients(workload.connections, port, workload.host, ca, proxied=proxy is not None)
    await asyncio.gather(*(client.exchange(workload.request) for client in clients))
    proxy_before = proxy.child.cpu_s() if proxy else 0.0
    drivers = (os.getpid(), provider.child.pid)
    driver_before = sum(map(cpu_s, drivers))
    tally = await drive(clients, workload.request, seconds=seconds, stagger_s=workload.stagger_s)
    proxy_cpu_ms = 1000 * ((proxy.child.cpu_s() if proxy else 0.0) - proxy_before)
    driver_cpu = sum(map(cpu_s, drivers)) - driver_before
    for client in clients:
        await client.close()
    cuts = statistics.quantiles(tally.first_bytes, n=100)
    return Measured(
        per_second=tally.answers / tally.seconds,
        first_p50_ms=1000 * cuts[49],
        first_p99_ms=1000 * cuts[98],
        cpu_ms_per_answer=proxy_cpu_ms / tally.answers,
        cpu_ms_per_event=proxy_cpu_ms / tally.answers / workload.events if workload.events else 0.0,
        driver_busy=driver_cpu / tally.seconds,
    )
