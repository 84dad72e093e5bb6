"""An issuer's keys at hand: fetched off the road, kept while the issuer is down, found again after a restart.

Known keys are answered at once, whatever the network does; while they are older than ``FRESH_S`` a fetch runs beside the calls.
Only a ``kid`` that is not known waits for a fetch, one for all who wait, and at most one in ``MISS_GAP_S``: a flood of made-up
names costs the issuer two requests a minute.
"""

import asyncio
import contextlib
import json
import os
import stat
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from .answers import Refused, Why
from .issuer import Issuer
from .keys import Key, KeysError, read_keys
from .web import MAX_BODY_BYTES, Answer, WebError, ask, check_url, is_loopback_url

FRESH_S = 600.0
STALE_S = 86_400.0
"""How long keys are believed after the last answer of their issuer. A key that was withdrawn can live on for as long at most."""
MISS_GAP_S = 30.0
RETRY_S = 2.0
"""The gap while there are no keys at all: nothing works until there are."""
FILE_GAP_S = 1.0
DISCOVERY_S = 86_400.0


class KeySource(Protocol):
    """Where keys come from."""

    ahead_s: float | None = None
    """How far this machine's clock was ahead of the issuer's at the last fetch; None when nothing is known of it."""

    async def key(self, kid: str) -> Key | Refused:
        """The key of that name, or why there is none."""

    def describe(self) -> str:
        """One line for ``doctor``."""

    async def close(self) -> None:
        """Give up a fetch under way."""


def key_source(row: Issuer, folder: Path | None, trust: Path | None = None) -> KeySource:
    """The source for a row. ``folder`` keeps the last good set over a restart; ``trust`` is a PEM bundle of roots."""
    if row.jwks_file is not None:
        return FileKeys(row)
    return FetchedKeys(row, folder, row.ca_file or trust)


class FetchedKeys:
    """Keys from the issuer's address, which is fixed or discovered; for one event loop."""

    def __init__(
        self, row: Issuer, folder: Path | None, trust: Path | None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._row = row
        self._trust = trust
        self._monotonic = monotonic
        self._keys: dict[str, Key] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._url = row.jwks_url
        self._discovered_at = float("-inf")
        self._flight: asyncio.Task[None] | None = None
        self._file = folder / f"{sha256(self._place.encode()).hexdigest()[:24]}.json" if folder is not None else None
        self._loaded = self._file is None
        self.ahead_s: float | None = None
        self.fetches = 0
        self.trouble = ""
        """Why the last fetch failed; empty when it did not."""

    @property
    def _place(self) -> str:
        """What stands for this source: changed configuration never reads keys of the old one."""
        return "\n".join((self._row.jwks_url or self._row.discovery, *self._row.issuers, *self._row.algorithms))

    async def key(self, kid: str) -> Key | Refused:
        """The key of that name; waits for a fetch only when it is not known or too old."""
        if not self._loaded:
            await self._load()
        now = self._monotonic()
        known = self._keys.get(kid)
        age = now - self._read_at
        if known is not None and age < STALE_S:
            if age >= FRESH_S and now - self._tried_at >= MISS_GAP_S:
                self._start()
            return known
        if self._flight is not None or now - self._tried_at >= (MISS_GAP_S if self._keys else RETRY_S):
            await asyncio.shield(self._start())
            known = self._keys.get(kid)
            if known is not None and self._monotonic() - self._read_at < STALE_S:
                return known
        return self._missing()

    async def close(self) -> None:
        """Give up a fetch under way."""
        if (flight := self._flight) is not None:
            flight.cancel()
            await asyncio.gather(flight, return_exceptions=True)

    def describe(self) -> str:
        """Number, age and trouble of the keys."""
        if not self._keys:
            return f"no keys yet{f': {self.trouble}' if self.trouble else ''}"
        age_s = int(self._monotonic() - self._read_at)
        return f"{len(self._keys)} keys, {age_s} s old{f'; last fetch failed: {self.trouble}' if self.trouble else ''}"

    def _missing(self) -> Refused:
        if self.trouble:
            reason = f"the keys of {self._row.name} cannot be fetched: {self.trouble}"
            return Refused(why=Why.UNREACHABLE, reason=reason, remedy="check the network, then `tollkeeper doctor`")
        reason = f"the token of {self._row.name} is signed with a key that its issuer does not publish"
        return Refused(why=Why.KEY, reason=reason, remedy="ask for a new token; a new key of the issuer is found within 30 s")

    def _start(self) -> "asyncio.Task[None]":
        """The fetch under way, or a new one."""
        if self._flight is None:
            self._tried_at = self._monotonic()
            self._flight = asyncio.get_running_loop().create_task(self._fetch())
        return self._flight

    async def _fetch(self) -> None:
        try:
            self.fetches += 1
            answer = await ask(await self._address(), trust=self._trust)
            if answer.status != 200:
                raise WebError(f"its address answers with status {answer.status}")
            self.ahead_s = _ahead_s(answer, time.time())
            # Building the keys takes a millisecond or two: not on the road.
            self._keys = await asyncio.to_thread(read_keys, answer.body, self._row.algorithms)
            self._read_at, self.trouble = self._monotonic(), ""
            if self._file is not None:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(_keep, self._file, self._place, answer.body)
        except (WebError, KeysError) as error:
            self.trouble = str(error)
            self._discovered_at = float("-inf")
        finally:
            self._flight = None

    async def _address(self) -> str:
        if self._row.jwks_url or (self._url and self._monotonic() - self._discovered_at < DISCOVERY_S):
            return self._url
        issuer = self._row.issuers[0] if self._row.issuers else ""
        # The address is made as OpenID Connect Discovery 1.0, section 4, says.
        where = self._row.discovery or f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        answer = await ask(where, trust=self._trust)
        if answer.status != 200:
            raise WebError(f"its discovery document answers with status {answer.status}")
        self._url = jwks_address(answer.body, issuer)
        self._discovered_at = self._monotonic()
        return self._url

    async def _load(self) -> None:
        """The set kept by an earlier process, as old as it is."""
        self._loaded = True
        file = self._file
        if file is None:
            return
        kept = await asyncio.to_thread(_kept, file, self._place)
        if kept is None or self._keys:
            return
        raw, age_s = kept
        with contextlib.suppress(KeysError):
            self._keys = await asyncio.to_thread(read_keys, raw, self._row.algorithms)
            self._read_at = self._monotonic() - age_s


class FileKeys:
    """Keys from a file, read again when it changes (Kubernetes: ``kubectl get --raw /openid/v1/jwks``)."""

    ahead_s: float | None = None

    def __init__(self, row: Issuer, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._row = row
        self._path = row.jwks_file or Path()
        self._monotonic = monotonic
        self._keys: dict[str, Key] = {}
        self._looked_at = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self.trouble = ""

    async def key(self, kid: str) -> Key | Refused:
        """The key of that name in the file as it stands."""
        now = self._monotonic()
        if now - self._looked_at >= FILE_GAP_S:
            self._looked_at = now
            await asyncio.to_thread(self._look)
        if (known := self._keys.get(kid)) is not None:
            return known
        if self.trouble:
            return Refused(why=Why.UNREACHABLE, reason=f"the keys of {self._row.name} cannot be read: {self.trouble}")
        reason = f"the token of {self._row.name} is signed with a key that is not in its jwks_file"
        return Refused(why=Why.KEY, reason=reason, remedy=f"write the issuer's present keys to {self._path}")

    async def close(self) -> None:
        """Nothing is under way."""

    def describe(self) -> str:
        """Number of the keys and trouble."""
        return f"{len(self._keys)} keys in {self._path}{f'; {self.trouble}' if self.trouble else ''}"

    def _look(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            self._keys = read_keys(_read(self._path), self._row.algorithms)
            self._seen, self.trouble = seen, ""
        except OSError as error:
            self.trouble = f"{self._path}: {error.strerror or 'unreadable'}"
        except KeysError as error:
            self.trouble = f"{self._path}: {error}"


def jwks_address(raw: bytes, issuer: str) -> str:
    """``jwks_uri`` of a discovery document that is ``issuer``'s own. Raises ``WebError``."""
    document = discovered(raw, issuer)
    url = document.get("jwks_uri")
    if not isinstance(url, str) or check_url(url) or (is_loopback_url(url) and not is_loopback_url(issuer)):
        raise WebError("its discovery document has no usable jwks_uri")
    return url


def discovered(raw: bytes, issuer: str) -> dict[str, Any]:
    """A discovery document; one that speaks for another issuer is refused (OpenID Connect Discovery 1.0, 4.3)."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise WebError("its discovery document is not JSON") from None
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise WebError("its discovery document names another issuer than the configuration")
    return document


def _ahead_s(answer: Answer, now_s: float) -> float | None:
    """Our clock less the server's, by the ``Date`` and ``Age`` of an answer (RFC 9110, 6.6.1; RFC 9111, 5.1); to a second or some."""
    try:
        told = parsedate_to_datetime(answer.headers["date"]).timestamp()
        return now_s - told - min(int(answer.headers.get("age", "0")), 10**9)
    except (KeyError, ValueError, OverflowError):
        return None


def _keep(path: Path, place: str, body: bytes) -> None:
    """Write the set beside the others, 0600, at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    kept = {"place": place, "read_at": int(time.time()), "jwks": json.loads(body)}
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(kept, file)
    temporary.replace(path)


def _kept(path: Path, place: str) -> tuple[bytes, float] | None:
    """A kept set and its age in seconds; None when there is none, it is of another configuration, or others could write it."""
    try:
        found = path.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            return None
        kept = json.loads(_read(path))
        age_s = time.time() - float(kept["read_at"])
        if kept["place"] != place or not 0 <= age_s < STALE_S:
            return None
        return json.dumps(kept["jwks"]).encode(), age_s
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _read(path: Path) -> bytes:
    """A file's content, if it is a plain file of a sensible size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a plain file")
        raw = file.read(2 * MAX_BODY_BYTES + 1)
    if len(raw) > 2 * MAX_BODY_BYTES:
        raise OSError(0, "too long")
    return raw
