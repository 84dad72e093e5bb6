"""For plain mitmproxy: ``mitmdump -s addon/tollkeeper_addon.py`` works from a bare clone with the dependencies installed."""

from tollkeeper.proxy.script import addons

__all__ = ["addons"]
