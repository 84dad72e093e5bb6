"""Connections to AI hosts that are never opened stand in the ledger, and a rule may stop them."""

from pathlib import Path

from proxy.roads import ADA, PROJECT, MakeRoad, entries, run
from tollkeeper.gate.hosts import HostTable
from tollkeeper.proxy.unopened import Unopened

HOST = "api2.cursor.sh"


def connect(make_road: MakeRoad, policy: str = "") -> str | None:
    unopened = Unopened(make_road(policy).stages)
    known = HostTable.load().find(HOST)
    assert known is not None

    async def scenario() -> str | None:
        reason = unopened.admit(known, f"{HOST}:443", ADA, PROJECT)
        await unopened.drain()
        return reason

    answer: str | None = run(scenario())
    return answer


def test_a_connection_that_is_not_opened_is_recorded_as_unmetered_with_the_reason(make_road: MakeRoad, tmp_path: Path) -> None:
    assert connect(make_road) is None

    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["provider"], entry["host"], entry["operation"]) == ("cursor", HOST, "connection")
    assert (entry["usage_source"], entry["outcome"], entry["subject"]) == ("unmetered", "ok", "ada")
    assert "no usage passes here" in entry["unmetered"]


def test_a_rule_that_blocks_a_provider_stops_its_connections_too(make_road: MakeRoad, tmp_path: Path) -> None:
    reason = connect(make_road, BLOCKED)

    assert reason is not None
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["kind"], entry["outcome"]) == ("refuse", "refused")


def test_a_rule_that_only_watches_lets_the_connection_through_and_says_so(make_road: MakeRoad, tmp_path: Path) -> None:
    assert connect(make_road, BLOCKED.replace("enforce", "observe")) is None

    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["outcome"], entry["would"]) == ("ok", "refuse")


BLOCKED = """
schema = 1
mode = "enforce"
[model.no-cursor]
provider = "cursor"
deny = ["*"]
"""
