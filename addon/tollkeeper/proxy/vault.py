"""Keys for calls that are sent to another provider: read where the policy says they are kept, used, and never written down.

``env:NAME`` is an environment variable of the proxy's own process, ``keyring:SERVICE/NAME`` an entry of the system's keyring.
"""

import os
from collections.abc import Mapping

from tollkeeper.core.errors import ConfigError

MAX_KEY_CHARS = 4_096


def key_at(place: str, environment: Mapping[str, str] | None = None) -> str:
    """The key kept at ``place``; may wait for the system's keyring, so never call it on the event loop for ``keyring:``.

    Raises ``ConfigError`` naming the place, never what stands there.
    """
    kind, _, name = place.partition(":")
    if kind == "env":
        found = (os.environ if environment is None else environment).get(name, "")
    elif kind == "keyring":
        found = _from_keyring(place, name)
    else:
        raise ConfigError('a key is kept at "env:NAME" or "keyring:SERVICE/NAME"')
    found = found.strip()
    if not found:
        raise ConfigError(f"there is no key at {place}: set it for the proxy, or change the target in the policy")
    if len(found) > MAX_KEY_CHARS or not found.isascii() or not found.isprintable():
        raise ConfigError(f"what stands at {place} is no key")
    return found


def _from_keyring(place: str, name: str) -> str:
    import keyring
    import keyring.errors

    service, _, user = name.partition("/")
    try:
        return keyring.get_password(service, user) or ""
    except keyring.errors.KeyringError as error:
        raise ConfigError(f"the keyring cannot be read for {place}: {type(error).__name__}") from None
