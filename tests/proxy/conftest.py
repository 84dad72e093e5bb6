"""Fixtures of the proxy's tests."""

from proxy.roads import book, make_road

__all__ = ["book", "make_road"]
