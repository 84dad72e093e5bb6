"""Groups from Access's own address, for teams whose application tokens carry none.

https://developers.cloudflare.com/cloudflare-one/access-controls/applications/http-apps/authorization-cookie/application-token/
"""

import asyncio
import json
from collections import OrderedDict
from pathlib import Path

from tollkeeper.core.clock import US_PER_SECOND, Clock

from .answers import Refused, Why
from .claims import named_groups
from .issuer import Issuer
from .web import WebError, ask

FRESH_S = 300
STALE_S = 86_400
"""A person's last known groups are used for as long while the address is down."""
RETRY_S = 10
MAX_PEOPLE = 4096


class GetIdentity:
    """Asks once per person and five minutes; for one event loop."""

    def __init__(self, clock: Clock, trust: Path | None = None) -> None:
        self._clock = clock
        self._trust = trust
        self._known: OrderedDict[tuple[str, str], tuple[float, frozenset[str]]] = OrderedDict()
        self._failed: dict[tuple[str, str], tuple[float, Refused]] = {}
        self._flights: dict[tuple[str, str], asyncio.Task[frozenset[str] | Refused]] = {}

    async def groups(self, row: Issuer, email: str, token: str) -> frozenset[str] | Refused:
        """The groups of the person whose verified token this is (``email`` in small letters).

        While the address is down, the last known ones.
        """
        key, now_s = (row.name, email), self._clock() / US_PER_SECOND
        known = self._known.get(key)
        if known is not None and now_s - known[0] < FRESH_S:
            return known[1]
        failed = self._failed.get(key)
        if failed is not None and now_s - failed[0] < RETRY_S:
            found: frozenset[str] | Refused = failed[1]
        else:
            found = await asyncio.shield(self._flight(key, row, email, token))
        if not isinstance(found, Refused):
            return found
        return known[1] if known is not None and now_s - known[0] < STALE_S else found

    def _flight(self, key: tuple[str, str], row: Issuer, email: str, token: str) -> "asyncio.Task[frozenset[str] | Refused]":
        if key not in self._flights:
            task = asyncio.get_running_loop().create_task(self._fetch(key, row, email, token))
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
        return self._flights[key]

    async def _fetch(self, key: tuple[str, str], row: Issuer, email: str, token: str) -> frozenset[str] | Refused:
        found = await self._ask(row, email, token)
        now_s = self._clock() / US_PER_SECOND
        if isinstance(found, Refused):
            if len(self._failed) >= MAX_PEOPLE:
                self._failed.clear()
            self._failed[key] = (now_s, found)
        else:
            self._failed.pop(key, None)
            self._known[key] = (now_s, found)
            while len(self._known) > MAX_PEOPLE:
                self._known.popitem(last=False)
        return found

    async def _ask(self, row: Issuer, email: str, token: str) -> frozenset[str] | Refused:
        try:
            cookie = ("cookie", f"CF_Authorization={token}")
            answer = await ask(row.notes["get_identity"], headers=[cookie], trust=row.ca_file or self._trust)
            if answer.status != 200:
                raise WebError(f"it answers with status {answer.status}")
            document = json.loads(answer.body)
        except WebError as error:
            return _refused(row, str(error))
        except (ValueError, RecursionError):
            return _refused(row, "its answer is not JSON")
        if not isinstance(document, dict) or str(document.get("email", "")).lower() != email:
            return _refused(row, "its answer is about somebody else")
        return named_groups(row, document.get("groups"))


def _refused(row: Issuer, reason: str) -> Refused:
    remedy = f'check get-identity of [issuer.{row.name}], or let the token carry them: groups = "custom.groups"'
    return Refused(why=Why.GROUPS, reason=f"the groups of {row.name} cannot be read: {reason}", remedy=remedy)
