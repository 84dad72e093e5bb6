"""mitmproxy lets a request through when an addon raises. Here an exception becomes the outcome the policy names."""

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, cast

from .stages import Counters

logger = logging.getLogger(__name__)


def note_fault(counters: Counters, hook: str, error: BaseException) -> None:
    """Count a fault and say it once, by type and place: an exception's text may quote a body or a key."""
    counters.faults += 1
    place = ""
    if (trace := error.__traceback__) is not None:
        while trace.tb_next is not None:
            trace = trace.tb_next
        place = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    counters.last_fault = f"{type(error).__name__} in {hook}{place}"
    logger.error("fault: %s", counters.last_fault)


def guarded[Hook: Callable[..., Any]](hook: Hook) -> Hook:
    """Wrap a synchronous hook of an addon: any exception goes to ``self.on_fault(hook name, error, first argument)``.

    A hook may return a coroutine, where it has to wait: that is watched alike.
    """

    @functools.wraps(hook)
    def wrapper(self: Any, *arguments: Any) -> Any:
        try:
            result = hook(self, *arguments)
        except Exception as error:
            self.on_fault(hook.__name__, error, arguments[0] if arguments else None)
            return None
        if result is not None and inspect.iscoroutine(result):
            return _watched(self, hook.__name__, result, *arguments)
        return result

    return cast("Hook", wrapper)


async def _watched(addon: Any, name: str, waiting: Coroutine[Any, Any, Any], *arguments: Any) -> None:
    try:
        await waiting
    except Exception as error:
        addon.on_fault(name, error, arguments[0] if arguments else None)


def guarded_async[Hook: Callable[..., Coroutine[Any, Any, None]]](hook: Hook) -> Hook:
    """Like ``guarded`` for an asynchronous hook."""

    @functools.wraps(hook)
    async def wrapper(self: Any, *arguments: Any) -> None:
        try:
            await hook(self, *arguments)
        except Exception as error:
            self.on_fault(hook.__name__, error, arguments[0] if arguments else None)

    return cast("Hook", wrapper)
