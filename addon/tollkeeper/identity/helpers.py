"""What a command beside us prints: ``cloudflared``, ``buildkite-agent``, ``circleci``."""

import asyncio
from collections.abc import Mapping, Sequence

MAX_OUTPUT_BYTES = 65_536


async def printed(arguments: Sequence[str], environ: Mapping[str, str], timeout_s: float) -> str:
    """Its output without the spaces around it; empty when it fails or says too much. Raises ``TimeoutError``, after ending it.

    What it complains goes nowhere: it may quote a token.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env=dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0 or len(output) > MAX_OUTPUT_BYTES:
        return ""
    return output.decode("ascii", "replace").strip()
