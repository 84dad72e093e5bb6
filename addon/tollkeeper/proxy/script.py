"""The addons for plain ``mitmdump -s``: the slow path, about twice the CPU, for people who already run mitmproxy.

The same stages, hooks and locked options as ``tollkeeper start``; the CA is ours, in the same place.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from tollkeeper.core.errors import TollkeeperError
from tollkeeper.gate.access import check_listener, is_loopback

from . import repairs
from .door import Door
from .hooks import Hooks
from .options import LOCKED, OptionsGuard
from .resolve import VARIABLE, Address, parse_pins
from .runner import prepare_trust
from .settings import Settings
from .stages import open_stages


class Detour:
    """An addon: dials pinned addresses where mitmproxy opens the connections, and no ``Dialer`` of ours."""

    name = "tollkeeper-detour"

    def __init__(self, pins: Mapping[Address, Address]) -> None:
        self.pins = pins
        self._named: dict[str, Address] = {}

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """Another address for the time of dialling."""
        address = data.server.address
        if address and (pin := self.pins.get((address[0].lower(), address[1]))):
            self._named[data.server.id] = (address[0], address[1])
            data.server.address = pin

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Restore the name: keep-alive looks connections up by it, and certificates are checked against it."""
        if name := self._named.pop(data.server.id, None):
            # mitmproxy forbids a new address on an open connection; this one is the address it was opened for.
            object.__setattr__(data.server, "address", name)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """As after a connection that succeeded."""
        self.server_connected(data)


class Script:
    """An addon that opens the stages when mitmproxy loads it and holds the real addons below it."""

    name = "tollkeeper-script"

    def __init__(self) -> None:
        repairs.apply()
        self.settings = Settings()
        self.stages = open_stages(self.settings.home)
        self.authority = prepare_trust(self.settings, self.stages)
        self.stages.open_desk(self.settings.home, self.settings.upstream_path)
        door = Door(self.stages, credentials={})
        hooks = Hooks(self.stages, door, drain_seconds=self.settings.drain_seconds, status=self._status)
        self.addons: list[Any] = [door, Detour(parse_pins(os.environ.get(VARIABLE, ""))), hooks, OptionsGuard()]

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
