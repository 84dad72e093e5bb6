"""A person's session: begun by a log-in, kept, refreshed by one process at a time, ended."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, Clock

from .answers import IdentityError, Proof, Refused
from .issuer import Issuer
from .oauth import Failure, Tokens, ask_tokens, client_of, find_endpoints, post_form
from .token import looks_like_token
from .token_store import Session, TokenStore
from .verify import Verifier
from .web import WebError

EARLY_S = 120
"""A token is renewed this long before it ends."""
LOCK_WAIT_S = 60.0
CHANNEL = "login"


class Sessions:
    """The sessions of this OS user. ``folder`` holds the lock that all processes share."""

    def __init__(self, store: TokenStore, verifier: Verifier, folder: Path, clock: Clock, trust: Path | None = None) -> None:
        self._store = store
        self._verifier = verifier
        self._lock = folder / "refresh.lock"
        self._clock = clock
        self._trust = trust

    async def begin(self, row: Issuer, tokens: Tokens) -> tuple[Session, Proof]:
        """Verify and keep the tokens of a log-in. Raises ``IdentityError`` when none of them proves anybody."""
        token, proof = await self._identifying(row, tokens)
        session = Session(
            issuer=row.name,
            subject=proof.principal.subject,
            token=token,
            refresh_token=tokens.refresh_token,
            expires_at=proof.expires_at,
            logged_in_at=self._now_s(),
        )
        async with self._turn():
            await asyncio.to_thread(self._store.save, session)
        return session, proof

    async def current(self, row: Issuer) -> tuple[Session, Proof] | None:
        """The session with a token that is still good, renewed when it is about to end; None when nobody is logged in.

        Raises ``IdentityError`` when the session has ended, or its token has and the issuer cannot be asked.
        """
        session = await asyncio.to_thread(self._store.load, row.name)
        if session is None:
            return None
        if session.expires_at - self._now_s() <= EARLY_S and session.refresh_token:
            # Shielded: between the issuer's answer and our writing it down, the only good refresh token is in our hands.
            session = await asyncio.shield(asyncio.ensure_future(self._refresh(row)))
            if session is None:
                return None
        found = await self._verifier.verify(session.token, CHANNEL)
        if isinstance(found, Refused):
            raise IdentityError(f"the session at {row.name} is not good any more: {found}")
        return session, found

    async def end(self, row: Issuer) -> bool:
        """Log out: forget the session, and ask the issuer to revoke it where it can be asked. Whether there was one."""
        async with self._turn():
            session = await asyncio.to_thread(self._store.load, row.name)
            await asyncio.to_thread(self._store.delete, row.name)
        if session is None:
            return False
        if session.refresh_token:
            with suppress(IdentityError, WebError):  # it is forgotten here all the same
                endpoints = await find_endpoints(row, self._trust)
                if endpoints.revocation_endpoint:  # RFC 7009
                    form = {"token": session.refresh_token, "token_type_hint": "refresh_token", "client_id": client_of(row).id}
                    await post_form(endpoints.revocation_endpoint, form, row.ca_file or self._trust)
        return True

    async def _refresh(self, row: Issuer) -> Session | None:
        """Under the lock: read again, since another process may have been first; ask; write; only then use."""
        async with self._turn():
            session = await asyncio.to_thread(self._store.load, row.name)
            if session is None or session.expires_at - self._now_s() > EARLY_S:
                return session
            try:
                endpoints = await find_endpoints(row, self._trust)
                form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
                found = await ask_tokens(row, endpoints, form, self._trust)
            except (WebError, IdentityError) as error:
                if session.expires_at > self._now_s():
                    return session
                raise IdentityError(f"the session at {row.name} cannot be renewed now: {error}") from None
            if isinstance(found, Failure):
                if found.code == "invalid_grant":
                    await asyncio.to_thread(self._store.delete, row.name)
                    raise IdentityError(f"the session at {row.name} has ended: log in again with `tollkeeper login {row.name}`")
                if session.expires_at > self._now_s():
                    return session
                raise IdentityError(f"{row.name} does not renew the session ({found.code})")
            renewed = Session(
                issuer=session.issuer,
                subject=session.subject,
                token=session.token,
                refresh_token=found.refresh_token or session.refresh_token,
                expires_at=session.expires_at,
                logged_in_at=session.logged_in_at,
            )
            # First the new refresh token: the old one is dead from now on, and replaying it can end the whole grant.
            await asyncio.to_thread(self._store.save, renewed)
            token, proof = await self._identifying(row, found)
            if proof.principal.subject != session.subject:
                await asyncio.to_thread(self._store.delete, row.name)
                raise IdentityError(f"{row.name} renewed the session for somebody else; it was dropped, log in again")
            renewed = Session(
                issuer=session.issuer,
                subject=session.subject,
                token=token,
                refresh_token=renewed.refresh_token,
                expires_at=proof.expires_at,
                logged_in_at=session.logged_in_at,
            )
            await asyncio.to_thread(self._store.save, renewed)
            return renewed

    async def _identifying(self, row: Issuer, tokens: Tokens) -> tuple[str, Proof]:
        """The one of the tokens that proves who it is for: the access token if it can be verified, else the ID token."""
        said = "it gave no token that can be verified"
        for token in (tokens.access_token, tokens.id_token):
            if not looks_like_token(token):
                continue
            found = await self._verifier.verify(token, CHANNEL)
            if isinstance(found, Proof) and found.row == row.name:
                return token, found
            said = str(found) if isinstance(found, Refused) else f"its token belongs to [issuer.{found.row}]"
        raise IdentityError(f"{row.name} let you in, but {said}")

    def _now_s(self) -> int:
        return self._clock() // US_PER_SECOND

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One process at a time. A process that dies gives its turn away."""
        self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await self._acquire(descriptor)
            yield
        finally:
            os.close(descriptor)

    async def _acquire(self, descriptor: int) -> None:
        try:
            async with asyncio.timeout(LOCK_WAIT_S):
                while not _try(descriptor):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise IdentityError(f"another process has held {self._lock} for {LOCK_WAIT_S:.0f} s; end it and try again") from None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
