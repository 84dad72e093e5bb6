"""mitmproxy events to stages and back. The only room that imports mitmproxy."""

from . import lean

lean.install()
