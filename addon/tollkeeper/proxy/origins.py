"""Where a call comes from besides its principal: this sidecar's own words, the job's token, the process at the other end.

Worked out once per connection and client, since a connection's process does not change.
"""

from dataclasses import replace

from tollkeeper.core.call import Attribution
from tollkeeper.identity.channels import Resolution
from tollkeeper.identity.job_place import NO_JOB, job_place
from tollkeeper.identity.local import user_name
from tollkeeper.identity.peer import Peer

from .stages import Stages

type _Known = tuple[str, object, Peer | None, Attribution]


class Origins:
    """The attributions of open connections."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._known: dict[str, _Known] = {}

    def of(self, connection: str, who: Resolution | None, client: str = "") -> Attribution:
        """The attribution of a call on ``connection``; ``client`` is what its User-Agent names."""
        evidence = who.proof.evidence if who is not None and who.proof is not None else None
        peer = self._stages.desk.peers.at_once(connection)[1]
        known = self._known.get(connection)
        if known is not None and known[0] == client and known[1] is evidence and known[2] is peer:
            return known[3]
        made = attributed(self._stages.attribution, dict(evidence or {}), peer, client)
        self._known[connection] = (client, evidence, peer, made)
        return made

    def forget(self, connection: str) -> None:
        """A connection is gone."""
        self._known.pop(connection, None)


def attributed(base: Attribution, evidence: dict[str, str], peer: Peer | None, client: str) -> Attribution:
    """``base``, which is this sidecar's own and stays; what it leaves open is taken from the token, then from the process."""
    job = job_place(evidence) if evidence else NO_JOB
    place = peer.place if peer is not None else None
    return replace(
        base,
        client=client,
        project=base.project or job.project or (place.repository if place is not None else ""),
        branch=base.branch or job.branch or (place.branch if place is not None and not job.project else ""),
        run=base.run or job.run,
        os_user=user_name(peer.uid) if peer is not None else "",
        process=peer.command if peer is not None else "",
        container=peer.container if peer is not None else "",
        tags=tuple(sorted({**dict(job.labels), **dict(base.tags)}.items())) if job.labels else base.tags,
    )
