"""Free memory goes back to the system, as long as the proxy runs."""

import asyncio

from tollkeeper.proxy.slack import Slack, trimmer


def test_memory_is_given_back_again_and_again_until_the_end() -> None:
    async def rounds() -> list[int]:
        asked, over = list[int](), asyncio.Event()

        def trim(keep: int) -> None:
            asked.append(keep)
            if len(asked) == 3:
                asyncio.get_running_loop().call_soon(slack.done)
                asyncio.get_running_loop().call_soon(over.set)

        slack = Slack(trim, every_seconds=0)
        slack.running()
        await over.wait()
        return asked

    assert asyncio.run(rounds()) == [0, 0, 0]


def test_the_c_library_gives_back_or_there_is_nothing_to_call() -> None:
    trim = trimmer()
    assert trim is None or trim(0) in {0, 1}
