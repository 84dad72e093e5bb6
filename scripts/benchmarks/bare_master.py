"""The leanest honest rival: mitmproxy's ``Master`` with the same four core addons as ours, and the same plain addon."""

import asyncio
import signal
import sys

import plain_addon
from mitmproxy import master, options
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig


async def main(port: int, confdir: str, trusted_ca: str) -> None:
    settings = options.Options()
    proxy = master.Master(settings)
    proxy.addons.add(core.Core(), proxyserver.Proxyserver(), next_layer.NextLayer(), tlsconfig.TlsConfig(), plain_addon)
    settings.update(
        confdir=confdir,
        listen_host="127.0.0.1",
        listen_port=port,
        connection_strategy="lazy",
        http2=False,
        tcp_timeout=3600,
        ssl_verify_upstream_trusted_ca=trusted_ca,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, proxy.shutdown)
    await proxy.run()


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
