"""Free memory goes back to the system: when nothing is under way, and at the latest after some rounds."""

import asyncio

from tollkeeper.proxy.slack import MOST_ROUNDS, Slack, trimmer


async def rounds(busy: bool, count: int) -> list[int]:
    """How often was trimmed after each of ``count`` rounds."""
    asked, trimmed, seen = 0, 0, list[int]()
    over = asyncio.Event()

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return busy

    def trim(keep: int) -> None:
        nonlocal trimmed
        assert keep == 0
        trimmed += 1

    slack = Slack(is_busy, trim=trim, every_seconds=0)
    original = slack.running

    def after_each() -> None:
        seen.append(trimmed)
        if len(seen) > count:
            over.set()
        else:
            original()

    slack.running = after_each  # type: ignore[method-assign]
    slack.running()
    await over.wait()
    slack.done()
    return seen[1:]


def test_memory_is_given_back_in_every_quiet_round() -> None:
    assert asyncio.run(rounds(busy=False, count=3)) == [1, 2, 3]


def test_calls_under_way_put_it_off_but_not_for_ever() -> None:
    assert asyncio.run(rounds(busy=True, count=MOST_ROUNDS + 2)) == [*[0] * MOST_ROUNDS, 1, 1]


def test_where_the_c_library_cannot_nothing_is_scheduled() -> None:
    trim = trimmer()
    assert trim is None or trim(0) in {0, 1}
