"""Pinned upstream addresses, like ``curl --resolve``: only the TCP address changes, name and certificate checks stay.

``TOLLKEEPER_RESOLVE="api.openai.com:443=127.0.0.1:9443,…"`` serves tests, the demo and split-horizon networks.
"""

from collections.abc import Mapping

from tollkeeper.core.errors import ConfigError

VARIABLE = "TOLLKEEPER_RESOLVE"

type Address = tuple[str, int]


def parse_pins(text: str) -> Mapping[Address, Address]:
    """``host:port=address:port`` pairs, separated by commas. Raises ``ConfigError`` naming the bad pair."""
    pins: dict[Address, Address] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, separator, target = pair.partition("=")
        try:
            if not separator:
                raise ValueError
            pins[_address(name)] = _address(target)
        except ValueError:
            message = f'{VARIABLE}: "{pair}" is not a pin; write it like "api.openai.com:443=127.0.0.1:9443"'
            raise ConfigError(message) from None
    return pins


def _address(text: str) -> Address:
    host, separator, port = text.strip().rpartition(":")
    if not separator or not host or not 0 < int(port) < 65_536:
        raise ValueError(text)
    return host.strip("[]").lower(), int(port)
