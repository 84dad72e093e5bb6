"""What stock mitmproxy is given: three lines that stream every answer, and the way to the fake provider.

Loaded by ``mitmdump -s`` and by ``bare_master.py``. The redirect changes the TCP address only, once a connection. (Setting
``server.address`` in the ``server_connect`` hook instead would defeat mitmproxy's reuse of upstream connections, which goes by
address, and its cap of five a host would then hang the sixth request.)
"""

import asyncio
import os

PROVIDER_PORT = int(os.environ["BENCH_PROVIDER_PORT"])
_open_connection = asyncio.open_connection


def responseheaders(flow):
    flow.response.stream = True


async def _redirected(host=None, port=None, **options):
    return await _open_connection("127.0.0.1", PROVIDER_PORT if port == 443 else port, **options)


asyncio.open_connection = _redirected
