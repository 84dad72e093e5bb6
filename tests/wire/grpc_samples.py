"""xAI's messages, encoded here by hand: the other side of our reader."""

from collections.abc import Sequence

from tollkeeper.wire.framing.grpc import frame

type Value = int | str | bytes | Sequence["Value"] | dict[int, "Value"]


def varint(value: int) -> bytes:
    """A base-128 number; negatives as 64-bit two's complement."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(fields: dict[int, Value]) -> bytes:
    """A message by field number: numbers, texts, bytes, messages, and lists of them (one field each)."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
                continue
            raw = one.encode() if isinstance(one, str) else message(one) if isinstance(one, dict) else bytes(one)  # type: ignore[arg-type]
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def usage(output: int, *, prompt: int = 210, cached: int = 90, reasoning: int = 12, ticks: int | None = None) -> dict[int, Value]:
    """``SamplingUsage``."""
    found: dict[int, Value] = {1: output, 2: prompt, 3: prompt + output + reasoning, 4: prompt, 6: reasoning, 7: cached}
    return found if ticks is None else found | {11: ticks}


def chunk(text: str, output: int, *, finish: int = 0, extra: dict[int, Value] | None = None) -> bytes:
    """``GetChatCompletionChunk``."""
    made: dict[int, Value] = {1: {1: text, 2: 2}}
    if finish:
        made[3] = finish
    return message({1: "id-1", 2: made, 4: "grok-4-fast-reasoning", 6: usage(output) | (extra or {})})


def response(text: str, output: int) -> bytes:
    """``GetChatCompletionResponse``."""
    said: dict[int, Value] = {1: text, 2: 2}
    return message({1: "id-1", 2: {1: 3, 3: said}, 6: "grok-4-fast-reasoning", 9: usage(output), 15: 2})


def ask(text: str = "What does this call cost?", model: str = "grok-4-fast", **more: Value) -> bytes:
    """``GetCompletionsRequest``, framed. Other fields as ``_7=500``."""
    turn: dict[int, Value] = {1: {1: text}, 2: 1}
    return frame(message({1: turn, 2: model, **{int(number[1:]): value for number, value in more.items()}}))


STREAM = b"".join(
    frame(piece)
    for piece in (
        chunk(" the", 1),
        chunk(" cost", 2),
        chunk("", 2),
        chunk(" of", 3, finish=3, extra={9: b"\x01\x01\x02", 11: 15_060_500}),
    )
)
WHOLE = frame(response(" the cost of", 3))
