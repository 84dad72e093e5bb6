"""Where this machine's own files stand: one folder, private to its user, removed to undo everything."""

import os
import stat
import sys
from pathlib import Path

from .value import dataclass


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder (``TOLLKEEPER_HOME``, else the platform's data folder)."""

    root: Path

    @property
    def ca(self) -> Path:
        """The folder of the certificate authority, mode 0700."""
        return self.root / "ca"

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.root / "ledger.db"

    @property
    def policy(self) -> Path:
        """The policy document; when absent, everything is observed and nothing is blocked."""
        return self.root / "policy.toml"

    @property
    def prices(self) -> Path:
        """Price overlay: own models, discounts, aliases."""
        return self.root / "prices.toml"

    @property
    def hosts(self) -> Path:
        """Hosts of one's own: gateways, self-hosted models, company accounts."""
        return self.root / "hosts.toml"

    @property
    def state(self) -> Path:
        """What the running proxy says of itself (JSON: pid, port, started_at, mode)."""
        return self.root / "proxy.json"

    @property
    def log(self) -> Path:
        """The background proxy's log."""
        return self.root / "proxy.log"

    def make(self) -> None:
        """Create the folder, mode 0700. One that is there and this user's own is closed to others, unless it is plainly not ours alone."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self.root.stat()
        is_shared = found.st_mode & stat.S_ISVTX or self.root.resolve() == Path.home().resolve()
        if found.st_mode & 0o077 and found.st_uid == os.getuid() and not is_shared:
            try:  # noqa: SIM105 — the status line has no time to load contextlib
                self.root.chmod(0o700)
            except OSError:
                pass  # a file system without modes, or one that is read only: the files in it are 0600 all the same


def home() -> Home:
    """The state folder of this user."""
    if chosen := os.environ.get("TOLLKEEPER_HOME"):
        return Home(Path(chosen).expanduser())
    if sys.platform == "darwin":
        return Home(Path.home() / "Library" / "Application Support" / "tollkeeper")
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Home(Path(data_home) / "tollkeeper")
