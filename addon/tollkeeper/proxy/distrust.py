"""Clients that refuse our certificate: one line for each, with its name and what makes it trust us.

A broken handshake alone proves nothing: Node and Bun send no alert when they distrust, and some clients drop spare connections when all is
well (undici, Codex). So only a client that says so, or one of which nothing to that host ever went through, is told of.
"""

import logging

from tollkeeper.gate.remedies import remedy_for
from tollkeeper.identity.peer import Peer

from .stages import Counters

logger = logging.getLogger(__name__)

SAYS_SO = "The client does not trust"
"""mitmproxy's words for an alert about the certificate."""
UNSAID_TIMES = 2
"""So often a client must have dropped its handshakes with a host, and never finished one, before it is told of."""
UNKNOWN = "a client of this machine"
"""Not looked up in time. What worked for it may have worked for any."""
MAX_CLIENTS = 200
MAX_HOSTS = 1_000

type _Key = tuple[str, str]


class Distrust:
    """What is known of handshakes, by client and host; its findings stand in the counters."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._trusting: set[_Key] = set()
        self._trusted: set[str] = set()
        """The hosts of those."""
        self._unsaid: dict[_Key, int] = {}

    def worked(self, host: str, address: str, peer: Peer | None) -> None:
        """A handshake was finished: what was dropped before said nothing."""
        key = (named(address, peer), host)
        if key in self._trusting or len(self._trusting) >= MAX_HOSTS:
            return
        self._trusting.add(key)
        self._trusted.add(host)
        if dropped := self._unsaid.pop(key, 0):
            found = self._counters.untrusting_clients.get(_id(key))
            if found is not None and not found["said"]:
                del self._counters.untrusting_clients[_id(key)]
            self._forget(host, dropped)

    def failed(self, host: str, address: str, peer: Peer | None, error: str) -> None:
        """A handshake broke off; ``error`` is mitmproxy's word for it."""
        key, said = (named(address, peer), host), error.startswith(SAYS_SO)
        if not said:
            is_any = key[0] == UNKNOWN and host in self._trusted
            if is_any or {key, (UNKNOWN, host)} & self._trusting or (key not in self._unsaid and len(self._unsaid) >= MAX_HOSTS):
                return
            self._unsaid[key] = self._unsaid.get(key, 0) + 1
        hosts = self._counters.untrusting_hosts
        if host in hosts or len(hosts) < MAX_HOSTS:
            hosts[host] = hosts.get(host, 0) + 1
        if said or self._unsaid[key] >= UNSAID_TIMES:
            self._tell(key, peer, said=said)

    def _tell(self, key: _Key, peer: Peer | None, *, said: bool) -> None:
        clients, (name, host) = self._counters.untrusting_clients, key
        if (found := clients.get(_id(key))) is not None:
            found["count"] = int(found["count"]) + 1
            found["said"] = found["said"] or said
            found["pid"] = peer.pid if peer is not None else 0
            return
        if len(clients) >= MAX_CLIENTS:
            return
        command, pid = (peer.command, peer.pid) if peer is not None else ("", 0)
        count = 1 if said else self._unsaid[key]
        clients[_id(key)] = {"client": name, "command": command, "pid": pid, "host": host, "count": count, "said": said}
        logger.warning("%s", line(clients[_id(key)]))

    def _forget(self, host: str, dropped: int) -> None:
        hosts = self._counters.untrusting_hosts
        hosts[host] = hosts.get(host, 0) - dropped
        if hosts[host] <= 0:
            del hosts[host]


def named(address: str, peer: Peer | None) -> str:
    """The program, as the kernel names it; where the connection comes from, when that cannot be told."""
    if peer is not None and peer.command:
        return peer.command
    return UNKNOWN if address.startswith("127.") or address == "::1" else f"a client at {address}"


def line(found: dict[str, str | int]) -> str:
    """``node (pid 4211) refuses our certificate for api.openai.com: …``, in words that say how sure that is and what mends it."""
    who = f"{found['client']} (pid {found['pid']})" if found["pid"] else str(found["client"])
    what = "refuses our certificate for" if found["said"] else "breaks off every handshake, as if it refused our certificate, for"
    return (
        f"{who} {what} {found['host']}: its calls fail. Start it with `tollkeeper run -- CMD`, "
        f"or set {remedy_for(str(found['command'])).told} (`tollkeeper doctor`)"
    )


def _id(key: _Key) -> str:
    return f"{key[0]} {key[1]}"
