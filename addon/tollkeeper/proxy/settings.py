"""What one proxy process is told at start, as a value that travels as JSON on standard input (never in the process list)."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tollkeeper.core.paths import Home, home
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.gate.files import BUNDLE
from tollkeeper.policy.model import Others

from .egress import Asked

DEFAULT_PORT = 8877


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to listen, what to use, how to introduce the calls. Empty paths mean the home's own files."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    policy: str = ""
    ledger: str = ""
    state: str = ""
    bundle: str = ""
    project: str = ""
    session: str = ""
    branch: str = ""
    run: str = ""
    """The CI run."""
    labels: dict[str, str] = field(default_factory=dict)
    """On every call, and not to be changed by its client: ``workflow``, ``pull_request``, …"""
    principal: dict[str, str] = field(default_factory=dict)
    """Whose calls these are, if known before the start (``subject``, ``issuer``, ``channel``, ``assurance``); empty: the local user's."""
    groups: tuple[str, ...] = ()
    """Of that principal."""
    until: int = 0
    """When its proof ends (UTC seconds), and with it ``credentials``; 0: they live as long as the process."""
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    """Proxy user to password; empty means that none is asked for."""
    publish: str = ""
    """Folder for what clients must trust, readable by all; empty for none."""
    mode: str = "regular"
    """``modes.Mode``."""
    transparent_hosts: tuple[str, ...] = ()
    transparent_port: int = 8878
    upstream_proxy: str = field(default="", repr=False)
    """URL of the proxy to chain behind, with its password; empty for none."""
    no_proxy: str = ""
    """Hosts that go past it, as in ``NO_PROXY``."""
    strict: bool = False
    """The rules of a sidecar whose clients may try to go round it (``egress.Egress``)."""
    others: str = ""
    """``policy.model.Others``; empty: what the policy says."""
    allow: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()
    ephemeral: bool = False
    """A certificate authority of one day, for a CI job."""
    watch_policy: bool = True
    """Read the document anew when its file changes; not in a CI job, which could change it."""
    drain_seconds: float = 20.0
    parent: int = 0
    """Stop when this process ends, so that a killed ``run`` leaves no proxy behind. 0: live on."""

    @property
    def home(self) -> Home:
        """The state folder."""
        return home()

    @property
    def state_path(self) -> Path:
        """Where the process says what it is."""
        return Path(self.state) if self.state else self.home.state

    @property
    def bundle_path(self) -> Path:
        """What clients of this process are told to trust."""
        return Path(self.bundle) if self.bundle else self.home.ca / BUNDLE

    @property
    def upstream_path(self) -> Path:
        """What this process trusts upstream: its own file, since two shells may trust different companies."""
        return self.home.ca / f"upstream-{os.getpid()}.pem"

    @property
    def owner(self) -> Principal | None:
        """``principal`` as a value; None when it is not given."""
        if not self.principal:
            return None
        told = self.principal
        return Principal(
            subject=told["subject"],
            issuer=told["issuer"],
            channel=told["channel"],
            assurance=Assurance(told["assurance"]),
            groups=frozenset(self.groups),
        )

    @property
    def egress(self) -> Asked:
        """What this start says of what is no AI traffic; the policy may say more."""
        others = Others(self.others) if self.others else None
        return Asked(strict=self.strict, others=others, allow=self.allow, internal=self.internal)

    def to_json(self) -> str:
        """For ``from_json`` in the child process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings another process sent."""
        values: dict[str, Any] = json.loads(text)
        kept: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**kept)
