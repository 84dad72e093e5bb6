"""The desk at which the proxy asks who is calling: one object per process, opened from the state folder.

The only part of this room that the proxy needs: ``connected`` and ``disconnected`` per connection, ``password`` when a proxy
password comes, ``at_once`` per request, and ``identify`` where that has to wait.
"""

import base64
import binascii
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, Clock, system_clock
from tollkeeper.core.principal import ANONYMOUS, Principal

from .answers import Proof, Refused, Why
from .channels import Checked, OnNoIdentity, Presented, Resolution, collect, resolve
from .config import NOBODY, IdentityConfig, load_identity
from .fingerprint import CHANNEL as KEY_CHANNEL
from .fingerprint import by_key, local_salt
from .get_identity import GetIdentity
from .handles import CHANNEL as HANDLE_CHANNEL
from .handles import HandleBook
from .jwks import KeySource, key_source
from .local import LoginNote, local_principal
from .peer import CHANNEL as PEER_CHANNEL
from .peer import GONE_UID, Peer, Peers
from .scan import Pairs, Scan, decoded
from .services import Pair, Services
from .token import looks_like_token
from .verify import Verifier

MAX_PASSWORD_HEADER_CHARS = 16_384
PASSWORD_CHANNEL = "proxy-password"  # noqa: S105 — the name of a channel
KNOWN_US = US_PER_SECOND
"""How long what is known of a connection is used again before the log-in is looked at anew: it costs a ``stat``."""
NOTHING_OFFERED = Presented()


@dataclass(frozen=True, slots=True)
class Folder:
    """Where identity keeps its own, below the state folder."""

    root: Path

    @property
    def document(self) -> Path:
        """The configuration."""
        return self.root / "identity.toml"

    @property
    def keys(self) -> Path:
        """The last good sets of issuers' keys."""
        return self.root / "identity" / "jwks"

    @property
    def handles(self) -> Path:
        """Digests of proxy passwords."""
        return self.root / "identity" / "handles.json"

    @property
    def login(self) -> Path:
        """Who logged in last."""
        return self.root / "identity" / "login.json"

    @property
    def salt(self) -> Path:
        """The salt of provider-key fingerprints."""
        return self.root / "identity" / "salt"

    @property
    def sessions(self) -> Path:
        """Tokens of people, where there is no keyring."""
        return self.root / "identity" / "sessions"


class Desk:
    """Answers who is calling; for one event loop."""

    def __init__(
        self,
        config: IdentityConfig = NOBODY,
        *,
        folder: Folder | None = None,
        trust: Path | None = None,
        clock: Clock = system_clock,
        default: Principal | None = None,
        peers: Peers | None = None,
        on_no_identity: OnNoIdentity = OnNoIdentity.DEFAULT,
        owned: bool = False,
    ) -> None:
        self.config = config
        self.owned = owned
        """Every call without a proof is the default's, whichever process makes it: a job's own proxy."""
        self.on_no_identity = on_no_identity
        self.default = self.config.grouped(default if default is not None else local_principal())
        self.keys: dict[str, KeySource] = {
            row.name: key_source(row, folder.keys if folder is not None else None, trust) for row in config.issuers
        }
        self.verifier = Verifier(config, self.keys, clock, GetIdentity(clock, trust))
        self.services = Services(config, self.verifier, clock, trust)
        self.handles = HandleBook(folder.handles if folder is not None else None, clock)
        self.peers = peers if peers is not None else Peers()
        self._clock = clock
        self._login = LoginNote(folder.login) if folder is not None else None
        self._salt = local_salt(folder.salt) if folder is not None else b""
        self._passwords: dict[str, Proof | Refused] = {}
        self._scan = Scan(config.header)
        self._known: dict[str, tuple[int, Pairs, Resolution]] = {}
        """By connection, for ``KNOWN_US``: what was offered, and whom it proved."""

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        trust: Path | None = None,
        on_no_identity: OnNoIdentity = OnNoIdentity.DEFAULT,
        owner: Principal | None = None,
    ) -> "Desk":
        """The desk of a state folder. ``trust``: a PEM bundle of roots; ``owner``: whose calls these are when nothing proves otherwise.

        Raises ``ConfigError`` when identity.toml is wrong.
        """
        folder = Folder(root)
        return cls(
            load_identity(folder.document),
            folder=folder,
            trust=trust,
            on_no_identity=on_no_identity,
            default=owner,
            owned=owner is not None,
        )

    def connected(self, connection: str, client: Sequence[object], server: Sequence[object]) -> None:
        """A connection was accepted; ``client`` and ``server`` are (host, port, …) of its two ends."""
        self.peers.begin(connection, (str(client[0]), int(str(client[1]))), (str(server[0]), int(str(server[1]))))

    def disconnected(self, connection: str) -> None:
        """A connection is gone."""
        self.peers.end(connection)
        self._passwords.pop(connection, None)
        self._known.pop(connection, None)

    async def password(self, connection: str, values: Sequence[str], *, inside: bool = False) -> Proof | Refused | None:
        """Who the ``Proxy-Authorization`` values of a connection prove; kept for it. None when there are none.

        ``inside``: a client repeats the header inside its tunnel. It is asked again and must say the same; what is wrong with it is
        that request's alone (``identify`` takes it as ``password``), since others share the connection.
        """
        if not values:
            return self._password_now(connection)
        found = await self._password(connection, values)
        before = self._passwords.get(connection)
        if isinstance(before, Proof) and isinstance(found, Proof) and before.principal != found.principal:
            reason = "a connection cannot change its proxy password to another identity's"
            found = Refused(why=Why.DISAGREE, reason=reason, remedy="open a new connection")
        if not (inside and isinstance(found, Refused)):
            self._passwords[connection] = found
        self._known.pop(connection, None)
        return found

    def at_once(self, connection: str, fields: Iterable[tuple[bytes, bytes]], *, in_a_hurry: bool = False) -> Resolution | None:
        """``identify`` where it has to wait for nothing, None where it has.

        ``fields`` are the headers as they came, undecoded. ``in_a_hurry``: who it is counts, and not from which process.
        """
        now = self._clock()
        offers = self._scan.offers(fields)
        if (known := self._known.get(connection)) is not None and now < known[0] and known[1] == offers:
            return known[2]
        done, peer = self.peers.at_once(connection)
        if not done and not in_a_hurry:
            return None
        received = decoded(fields)
        offered = collect(received, self.config.header) if offers else NOTHING_OFFERED
        token, service = offered.token, offered.service
        shown = self.verifier.at_once(token, "header") if isinstance(token, str) else token
        pair = self.services.at_once(service) if isinstance(service, Pair) else service
        if (token is not None and shown is None) or (service is not None and pair is None):
            return None
        found = self._resolved(connection, received, offered, shown, pair, peer)
        if found.principal.channel != KEY_CHANNEL and self._salt_matters_not(peer):
            until = now + KNOWN_US
            if found.proof is not None and found.proof.expires_at:
                until = min(until, found.proof.expires_at * US_PER_SECOND)
            self._known[connection] = (until, offers, found)
        return found

    async def identify(
        self, connection: str, headers: Iterable[tuple[str, str]], password: Proof | Refused | None = None
    ) -> Resolution:
        """Who makes a request: everything its connection and its headers offer, in order of trust. Never raises on what it is given.

        ``headers`` are as received, duplicates included, before anything is stripped.
        """
        received = list(headers)
        offered = collect(received, self.config.header)
        token: Proof | Refused | None = None
        if isinstance(offered.token, str):
            token = await self.verifier.verify(offered.token, "header")
        elif offered.token is not None:
            token = offered.token
        service: Proof | Refused | None = None
        if isinstance(offered.service, Refused):
            service = offered.service
        elif offered.service is not None:
            service = await self.services.prove(offered.service)
        peer = await self.peers.get(connection)
        return self._resolved(connection, received, offered, token, service, peer, password)

    def _resolved(
        self,
        connection: str,
        received: Sequence[tuple[str, str]],
        offered: Presented,
        token: Proof | Refused | None,
        service: Proof | Refused | None,
        peer: Peer | None,
        password: Proof | Refused | None = None,
    ) -> Resolution:
        default = self._default()
        needs_key = self._salt and peer is None and not self.owned
        checked = Checked(
            password=password if isinstance(password, Refused) else self._password_now(connection),
            token=token,
            service=service,
            peer=None if self.owned else self._peer_principal(peer, default),
            key=by_key(self._salt, received) if needs_key else None,
            default=default,
            claims=offered.claims,
        )
        return resolve(checked, self.on_no_identity)

    def _salt_matters_not(self, peer: Peer | None) -> bool:
        """Whether the next request of the connection cannot be told from this one by its provider key."""
        return peer is not None or self.owned or not self._salt

    async def peer(self, connection: str) -> Peer | None:
        """The process at the other end, as far as it is known by now: for attribution, never for enforcement."""
        return await self.peers.get(connection)

    def describe(self) -> list[tuple[str, str]]:
        """(row, state of its keys) for ``doctor``."""
        return [(name, source.describe()) for name, source in self.keys.items()]

    async def close(self) -> None:
        """Give up look-ups and fetches under way."""
        self.peers.close()
        await self.verifier.close()

    def _default(self) -> Principal:
        """Whose proxy it is, else whoever logged in on this machine, else the OS user that runs the proxy."""
        if self.owned:
            return self.default
        found = self._login.current(self._clock() / US_PER_SECOND) if self._login is not None else None
        return found or self.default

    def _peer_principal(self, peer: Peer | None, default: Principal) -> Principal | None:
        """Whose process it is: our own user's processes are the default's, another user's are that user's."""
        if peer is None:
            return None
        if peer.uid == GONE_UID:
            return replace(ANONYMOUS, channel=PEER_CHANNEL)
        return replace(default, channel=PEER_CHANNEL) if peer.uid == os.getuid() else self.config.grouped(peer.principal)

    def doubt(self, who: Resolution | None) -> Refused | None:
        """Why whoever opened a session is not believed any more, None while they are. For sessions that outlive a request."""
        return None if who is None or who.proof is None else self._ended(who.proof)

    def _password_now(self, connection: str) -> Proof | Refused | None:
        """What the connection proved when it was opened: it may have ended since."""
        found = self._passwords.get(connection)
        return (self._ended(found) or found) if isinstance(found, Proof) else found

    def _ended(self, proof: Proof) -> Refused | None:
        """Why a proof that was good is not any more: its time is over, or its log-in was ended."""
        is_handle = proof.principal.channel == HANDLE_CHANNEL
        if proof.expires_at and self._clock() / US_PER_SECOND >= proof.expires_at + (0 if is_handle else self.config.skew_s):
            if is_handle:
                remedy = "start the command again with `tollkeeper run`, or log in again"
                return Refused(why=Why.EXPIRED, reason="the proxy password has ended with its session", remedy=remedy)
            return Refused(why=Why.EXPIRED, reason="the token that began this has ended", remedy="connect again with a new one")
        if is_handle and not self.handles.stands(proof.row):
            return Refused(
                why=Why.EXPIRED, reason="the log-in of this proxy password was ended", remedy="log in again: `tollkeeper login`"
            )
        return None

    async def _password(self, connection: str, values: Sequence[str]) -> Proof | Refused:
        if len(values) != 1:
            return Refused(why=Why.SEVERAL, reason="there is more than one proxy password", remedy="send one")
        pair = basic(values[0])
        if pair is None:
            return Refused(why=Why.HANDLE, reason="the proxy password is not in the Basic scheme")
        user, password = pair
        if looks_like_token(password):
            return await self.verifier.verify(password, PASSWORD_CHANNEL)
        peer = await self.peers.get(connection)
        return self.handles.prove(user, password, peer.uid if peer is not None else None)


def basic(header: str) -> tuple[str, str] | None:
    """User and password of a ``Proxy-Authorization`` value (RFC 7617), None when it is none."""
    if len(header) > MAX_PASSWORD_HEADER_CHARS:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
