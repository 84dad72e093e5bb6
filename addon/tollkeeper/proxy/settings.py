"""What one proxy process is told at start, as a value that travels as JSON on standard input (never in the process list)."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tollkeeper.core.paths import Home, home
from tollkeeper.gate.files import BUNDLE

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
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    """Proxy user to password; empty means that none is asked for."""
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

    def to_json(self) -> str:
        """For ``from_json`` in the child process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings another process sent."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)
