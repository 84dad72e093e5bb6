"""``python -m tollkeeper.cli.demo_provider --port N --ca-out FILE``: the fake provider as a process of its own."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from .server import FakeProvider


async def serve(port: int, ca_out: Path, *, record: bool) -> None:
    """Listen until SIGTERM; the CA is written before the port is named on stdout."""
    provider = FakeProvider(record=record)
    await provider.start(port=port)
    await asyncio.to_thread(ca_out.write_bytes, provider.authority.root_pem)
    sys.stdout.write(f"{provider.port}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await provider.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description="A fake OpenAI, Anthropic and Gemini on loopback, over TLS.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one, printed on stdout")
    parser.add_argument("--ca-out", type=Path, required=True, help="where to write the certificate that clients must trust")
    parser.add_argument("--no-record", action="store_true", help="keep no request bodies (for benchmarks)")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.ca_out, record=not options.no_record))


main()
