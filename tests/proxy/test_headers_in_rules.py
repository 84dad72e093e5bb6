"""Rules that go by request headers, on the road: what a header says stops a call, and no credential gets into the ledger by it."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.roads import ADA, PROJECT, MakeRoad, entries, run
from proxy.test_road import CHAT, chat
from tollkeeper.core.call import Attribution
from tollkeeper.core.decision import Verdict
from tollkeeper.core.entry import Outcome
from tollkeeper.ledger.history import read_history
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.road import Road
from tollkeeper.proxy.sockets import open_socket
from tollkeeper.wire.routes import endpoint_for

TEAM = (
    'schema = 1\nmode = "enforce"\n[budget.ml]\namount = "0 USD"\nwindow = "day"\nshare = "pool"\nheader = { X-Team = "ml*" }\n'
)
FORBID = 'schema = 1\nmode = "enforce"\n[model.no]\nheader = { x-forbid = "yes" }\ndeny = "*"\n'
EACH = (
    'schema = 1\nmode = "enforce"\n[budget.team]\namount = "5 USD"\nwindow = "day"\nshare = "each"\nper = "label.header:X-Team"\n'
)


async def admit(road: Road, *fields: tuple[bytes, bytes], attribution: Attribution = PROJECT, body: bytes = b"") -> Passage:
    return await road.admit(CHAT, CHAT.path, body or chat(), ADA, attribution, fields=fields)


@pytest.mark.parametrize(
    ("policy", "field", "rule"),
    [
        (TEAM, (b"x-team", b"ml"), "budget.ml"),
        (TEAM, (b"X-TEAM", b" ml-ops "), "budget.ml"),
        (TEAM, (b"x-team", b"web"), ""),
        (TEAM, (b"x-teams", b"ml"), ""),
        (FORBID, (b"x-forbid", b"yes"), "model.no"),
        (FORBID, (b"x-forbid", b"no"), ""),
    ],
)
def test_a_rule_over_a_header_covers_the_calls_that_carry_it(
    make_road: MakeRoad, policy: str, field: tuple[bytes, bytes], rule: str
) -> None:
    passage = run(admit(make_road(policy), field))
    assert (passage.decision.verdict, passage.decision.rule) == (Verdict.REFUSE if rule else Verdict.ALLOW, rule)


def test_a_header_counts_however_many_labels_a_call_carries_besides(make_road: MakeRoad) -> None:
    crowd = Attribution(tags=tuple((f"a{number:02}", "x") for number in range(40)))
    assert run(admit(make_road(FORBID), (b"x-forbid", b"yes"), attribution=crowd)).decision.verdict is Verdict.REFUSE


def test_a_header_sent_twice_is_one_list(make_road: MakeRoad, tmp_path: Path) -> None:
    run(admit(make_road(EACH), (b"x-team", b"ml"), (b"X-Team", b"web")))
    assert [json.loads(entry["tags"]) for entry in entries(tmp_path / "ledger.db")] == [{"header:x-team": "ml, web"}]


def test_what_a_header_says_stands_in_the_ledger_and_comes_back_for_a_replay(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(EACH)

    async def scenario() -> None:
        passage = await admit(road, (b"x-team", b"ml"), (b"x-other", b"private"))
        await road.settle(passage, Outcome.OK, cut=True)

    run(scenario())
    assert {entry["tags"] for entry in entries(tmp_path / "ledger.db")} == {'{"header:x-team":"ml"}'}
    (past,) = read_history(tmp_path / "ledger.db", 0, 2**62)
    assert past.call.attribution.tags == (("header:x-team", "ml"),)


def test_a_value_that_looks_like_a_key_is_taken_as_not_said(make_road: MakeRoad, tmp_path: Path) -> None:
    run(admit(make_road(EACH), (b"x-team", b"sk-ant-REDACTED-0123456789")))
    assert [entry["tags"] for entry in entries(tmp_path / "ledger.db")] == [""]


def test_a_label_of_the_client_s_own_cannot_pass_for_a_header(make_road: MakeRoad) -> None:
    body = chat(metadata={"header:x-team": "ml"})
    assert run(admit(make_road(TEAM), body=body)).decision.verdict is Verdict.ALLOW
    assert run(admit(make_road(TEAM), (b"cf-aig-metadata", b'{"header:x-team":"ml"}'))).decision.verdict is Verdict.ALLOW


def test_every_turn_of_a_socket_goes_by_the_headers_of_its_upgrade(make_road: MakeRoad) -> None:
    road = make_road(TEAM)
    endpoint = endpoint_for("openai", "api.openai.com", "WEBSOCKET", "/v1/responses")
    ask: dict[str, Any] = {"type": "response.create", "model": "gpt-4o-mini", "input": "hi", "metadata": {"team": "web"}}

    async def turn(*fields: tuple[bytes, bytes]) -> bytes | None:
        handshake = await road.admit(endpoint, endpoint.path, b"", ADA, PROJECT, fields=fields, handshake=True)
        socket = open_socket(road, handshake, "", {}, is_bound=False)
        assert socket is not None
        content: bytes | None = (await socket.frame(json.dumps(ask).encode(), from_client=True)).content
        return content

    assert run(turn((b"x-team", b"ml"))) is None
    assert run(turn((b"x-team", b"web"))) is not None


def test_every_call_of_a_service_over_grpc_goes_by_its_headers(make_road: MakeRoad) -> None:
    endpoint = endpoint_for("xai", "api.x.ai", "POST", "/xai_api.Chat/GetCompletion")

    async def scenario(road: Road, *fields: tuple[bytes, bytes]) -> Verdict:
        passage = await road.admit(endpoint, endpoint.path, b"", ADA, PROJECT, fields=fields)
        return passage.decision.verdict

    assert run(scenario(make_road(TEAM), (b"x-team", b"ml"))) is Verdict.REFUSE
    assert run(scenario(make_road(TEAM), (b"x-team", b"web"))) is Verdict.ALLOW
