"""The addons for plain ``mitmdump -s``: the slow path, about twice the CPU, for people who already run mitmproxy.

The same stages, hooks and locked options as ``tollkeeper start``; the CA is ours, in the same place.
"""

import asyncio
import os
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from tollkeeper.core.errors import TollkeeperError
from tollkeeper.gate.access import check_listener, is_loopback

from . import repairs
from .door import Door
from .hooks import Hooks
from .options import LOCKED, OptionsGuard
from .resolve import VARIABLE, parse_pins
from .runner import prepare_trust
from .settings import Settings
from .stages import open_stages


class Script:
    """An addon that opens the stages when mitmproxy loads it and holds the real addons below it."""

    name = "tollkeeper-script"

    def __init__(self) -> None:
        repairs.apply()
        self.settings = Settings()
        self.stages = open_stages(self.settings.home)
        self.authority = prepare_trust(self.settings, self.stages)
        self.stages.open_desk(self.settings.home, self.settings.upstream_path)
        door = Door(self.stages, credentials={}, pins=parse_pins(os.environ.get(VARIABLE, "")))
        hooks = Hooks(self.stages, door, drain_seconds=self.settings.drain_seconds, status=self._status)
        self.addons: list[Any] = [door, hooks, OptionsGuard()]

    def _status(self) -> dict[str, Any]:
        return {"mode": self.stages.policy.mode, "pid": os.getpid()}

    def load(self, loader: Loader) -> None:
        """Put our CA and the locked options in force before mitmproxy listens."""
        options = loader.master.options
        options.update(
            confdir=str(self.authority.confdir),
            ssl_verify_upstream_trusted_ca=str(self.settings.upstream_path),
            listen_host=options.listen_host or self.settings.host,
            **LOCKED,
        )
        try:
            check_listener(options.listen_host, authenticated=False)
        except TollkeeperError as error:
            raise exceptions.OptionsError(str(error)) from error

    def running(self) -> None:
        """mitmdump loads scripts while it opens its listener: one that was opened to everyone is closed and opened again."""
        server = ctx.master.addons.get("proxyserver")
        if not all(is_loopback(address[0]) for address in server.listen_addrs()):
            self._rebinding = asyncio.get_running_loop().create_task(_rebind(server))


async def _rebind(server: Any) -> None:
    modes = [instance.mode for instance in server.servers]
    await server.servers.update([])
    await server.servers.update(modes)


addons = [Script()]
