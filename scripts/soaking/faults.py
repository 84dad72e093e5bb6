"""Things that go wrong while traffic flows, one after another: the document changes, the process stands still, a reader blocks the WAL."""

import contextlib
import itertools
import signal
import sqlite3
import threading
from collections import Counter

from e2e.harness import RunningProxy

POLICY = """schema = 1
mode = "enforce"
[budget.day]
amount = "{amount} USD"
window = "day"
[model.banned]
deny = ["gpt-4o"]
"""
READER_SECONDS = 3.0


class Faults:
    """One every ``every_seconds``, in a thread of its own."""

    def __init__(self, proxy: RunningProxy, every_seconds: float) -> None:
        self.done: Counter[str] = Counter()
        self._proxy, self._every = proxy, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is undone first."""
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        amounts = itertools.cycle((100_000, 200_000))
        for act in itertools.cycle(("policy changed", "frozen for half a second", "broken policy", "long reader of the ledger")):
            if self._over.wait(self._every):
                return
            self.done[act] += 1
            document = self._proxy.home / "policy.toml"
            if act == "policy changed":
                document.write_text(POLICY.format(amount=next(amounts)))
            elif act == "broken policy":
                document.write_text('schema = 1\nmode = "enforced"\n')
            elif act.startswith("frozen"):
                self._proxy.process.send_signal(signal.SIGSTOP)
                self._over.wait(0.5)
                self._proxy.process.send_signal(signal.SIGCONT)
            else:
                self._read_long()

    def _read_long(self) -> None:
        uri = f"{(self._proxy.home / 'ledger.db').absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM entry").fetchone()
            self._over.wait(READER_SECONDS)
