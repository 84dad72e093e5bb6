"""The weakest identities: whoever is logged in on this machine, and the holder of a handle that ``tollkeeper run`` minted."""

import getpass
import os

from tollkeeper.core.principal import Assurance, Principal


def local_principal(channel: str = "default") -> Principal:
    """The OS user that runs the proxy: a login on this machine, not a proof of who sits there."""
    try:
        subject = getpass.getuser()
    except (KeyError, OSError):
        subject = f"uid:{os.getuid()}"
    return Principal(subject=subject, issuer="local", channel=channel, assurance=Assurance.LOCAL_LOGIN)
