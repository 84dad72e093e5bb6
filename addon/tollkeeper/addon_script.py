"""What ``tollkeeper addon-path`` points at: ``mitmdump -s "$(tollkeeper addon-path)"``."""

from tollkeeper.proxy.script import addons

__all__ = ["addons"]
