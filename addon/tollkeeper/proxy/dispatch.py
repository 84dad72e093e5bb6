"""Faster hook dispatch: the functions behind each hook name are looked up once, not on every event.

mitmproxy walks all addons with ``getattr`` on every hook and fires an ``update`` hook after each: 183 µs of CPU per hook with the
default addons, 38 µs with five, about 12 µs with two (docs/benchmarks.md). An addon chain that is fixed after start-up needs neither.
"""

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mitmproxy import exceptions, hooks
from mitmproxy.addonmanager import AddonManager
from mitmproxy.master import Master
from mitmproxy.options import Options

from .trim import options_snapshot

if TYPE_CHECKING:
    from .dial import Dialer

logger = logging.getLogger(__name__)

_REST = "tollkeeper_rest"
"""Attribute of a hook that waits: what it waits for, and the handlers that come after."""


class CachedAddonManager(AddonManager):
    """An ``AddonManager`` that remembers, per hook name, which bound functions answer it."""

    def __init__(self, master: Master) -> None:
        super().__init__(master)
        self._handlers: dict[str, tuple[Callable[..., Any], ...]] = {}
        self._plain: dict[str, bool] = {}
        self._fields: dict[type[hooks.Hook], tuple[str, ...]] = {}

    def register(self, addon: Any) -> Any:
        """Register an addon and forget the cache."""
        self._forget()
        return super().register(addon)

    def remove(self, addon: Any) -> None:
        """Remove an addon and forget the cache."""
        self._forget()
        super().remove(addon)

    def handlers(self, event: hooks.Hook) -> tuple[Callable[..., Any], ...]:
        """The functions that answer this hook, in chain order."""
        found = self._handlers.get(event.name)
        if found is None:
            found = tuple(function for addon in self.chain for _, function in self._iter_hooks(addon, event))
            self._handlers[event.name] = found
        return found

    def _forget(self) -> None:
        self._handlers.clear()
        self._plain.clear()

    def _arguments(self, event: hooks.Hook) -> list[Any]:
        """What ``event.args()`` gives, without reading the dataclass anew each time."""
        kind = type(event)
        names = self._fields.get(kind)
        if names is None:
            names = self._fields[kind] = tuple(field.name for field in dataclasses.fields(event))  # type: ignore[arg-type]
        return [getattr(event, name) for name in names]

    def call_in_place(self, event: hooks.Hook) -> bool:
        """Call every handler now, if none of them is a coroutine function; whether they are done.

        A plain function may still return a coroutine, where it has to wait after all: ``trigger_event`` then goes on from there.
        """
        plain = self._plain.get(event.name)
        if plain is None:
            plain = not any(inspect.iscoroutinefunction(function) for function in self.handlers(event))
            self._plain[event.name] = plain
        if plain:
            arguments = self._arguments(event)
            handlers = self.handlers(event)
            for place, function in enumerate(handlers, 1):
                try:
                    result = function(*arguments)
                except Exception as error:
                    _log(event, error)
                    continue
                if result is not None and inspect.isawaitable(result):
                    vars(event)[_REST] = (result, handlers[place:])
                    return False
        return plain

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        """Trigger an event; unlike the parent, fires no ``update`` hook: nothing here shows flows."""
        await self.trigger_event(event)

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call every handler in order, awaiting those that are coroutines; an exception is logged and the next one runs."""
        arguments = self._arguments(event)
        begun, handlers = vars(event).pop(_REST, (None, None))
        if begun is not None:
            try:
                await begun
            except exceptions.AddonHalt:
                return
            except Exception as error:
                _log(event, error)
        for function in self.handlers(event) if handlers is None else handlers:
            try:
                result = function(*arguments)
                if result is not None and inspect.isawaitable(result):
                    await result
            except exceptions.AddonHalt:
                return
            except Exception as error:
                _log(event, error)


def _log(event: hooks.Hook, error: Exception) -> None:
    """An add-on of mitmproxy's raised (ours never let anything out): say so by type, since the text may quote a body."""
    logger.error("Addon error in %s: %s", event.name, type(error).__name__)


class SidecarMaster(Master):
    """mitmproxy's ``Master`` with cached dispatch."""

    addons: CachedAddonManager
    dialer: "Dialer | None" = None
    """How connections upstream are opened; None: mitmproxy's own way."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.addons = CachedAddonManager(self)
        self._snapshot: SimpleNamespace | None = None
        options.changed.connect(self._forget_snapshot)

    def _forget_snapshot(self, updated: set[str]) -> None:
        self._snapshot = None

    def _asyncio_exception_handler(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A connection that is cancelled while it closes is no fault: asyncio 3.12.1 reports it as one (cpython #110894)."""
        if not isinstance(context.get("exception"), asyncio.CancelledError):
            super()._asyncio_exception_handler(loop, context)

    @property
    def options_snapshot(self) -> SimpleNamespace:
        """Every option's present value, as plain attributes for layers to read."""
        if self._snapshot is None:
            self._snapshot = options_snapshot(self.options)
        return self._snapshot
