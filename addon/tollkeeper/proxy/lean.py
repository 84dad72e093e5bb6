"""Keeps mitmproxy from importing the 30 add-ons we do not use: 0.3 s of start-up and 15 MB of memory (docs/benchmarks.md).

``mitmproxy.addons`` imports them all for ``default_addons()``, which only its own command-line tools call. A package of the same name
and path, put in place first, still finds the four modules that we use.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

NAME = "mitmproxy.addons"


def install() -> None:
    """Put the slim package in place, unless the full one is loaded already (``mitmdump -s``) or mitmproxy is missing."""
    spec = importlib.util.find_spec("mitmproxy")
    if NAME in sys.modules or spec is None or spec.origin is None:
        return
    package = ModuleType(NAME, "A slim stand-in: see tollkeeper.proxy.lean.")
    package.__path__ = [str(Path(spec.origin).parent / "addons")]
    sys.modules[NAME] = package
