"""Who makes a call, on mitmproxy's side of the road: asked before anything leaves, waited for only where it must be, kept apart."""

import asyncio
import base64
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import hooks
from mitmproxy.http import HTTPFlow
from mitmproxy.options import Options
from mitmproxy.test import tflow, tutils

from proxy.roads import ADA, PROJECT, MakeRoad, entries, run
from tollkeeper.core.call import Attribution
from tollkeeper.core.decision import Verdict
from tollkeeper.core.entry import Outcome
from tollkeeper.core.principal import ANONYMOUS, Assurance, Principal
from tollkeeper.gate.hosts import HostTable
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.channels import Resolution
from tollkeeper.identity.git_place import Place
from tollkeeper.identity.local import user_name
from tollkeeper.identity.peer import Peer
from tollkeeper.identity.scan import MAX_SPELLINGS, Scan
from tollkeeper.proxy.dispatch import SidecarMaster
from tollkeeper.proxy.door import Door
from tollkeeper.proxy.headers import strip
from tollkeeper.proxy.hooks import WHO, Hooks
from tollkeeper.proxy.origins import attributed
from tollkeeper.proxy.safety import guarded
from tollkeeper.proxy.settings import Settings
from tollkeeper.proxy.stages import ON_NO_IDENTITY
from tollkeeper.proxy.unopened import Unopened
from tollkeeper.wire.routes import endpoint_for

CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")
MODELS = endpoint_for("openai", "api.openai.com", "GET", "/v1/models")
BODY = b'{"model": "gpt-4o-mini", "messages": []}'
ENFORCE, OBSERVE = 'schema = 1\nmode = "enforce"\n', 'schema = 1\nmode = "observe"\n'
WRONG = Refused(why=Why.SIGNATURE, reason="its signature is wrong", remedy="log in again")
NONE = Refused(why=Why.MISSING, reason="nothing proves who is calling")


# Waiting without holding up those who need not wait.


class Waiter:
    """Answers ``running``: at once, or with a coroutine."""

    def __init__(self, name: str, seen: list[str], *, waits: bool) -> None:
        self.name, self.seen, self.waits = name, seen, waits

    def running(self) -> Coroutine[Any, Any, None] | None:
        self.seen.append(self.name)
        return self._later() if self.waits else None

    async def _later(self) -> None:
        await asyncio.sleep(0)
        self.seen.append(f"{self.name} done")


def test_a_plain_handler_that_has_to_wait_is_waited_for_and_those_after_it_come_after() -> None:
    seen: list[str] = []

    async def scenario() -> None:
        master = SidecarMaster(Options())
        for name, waits in (("a", False), ("b", True), ("c", False), ("d", True), ("e", False)):
            master.addons.add(Waiter(name, seen, waits=waits))
        event = hooks.RunningHook()
        assert master.addons.call_in_place(event) is False
        assert seen == ["a", "b"]
        await master.addons.trigger_event(event)

    asyncio.run(scenario())
    assert seen == ["a", "b", "b done", "c", "d", "d done", "e"]


def test_handlers_that_need_not_wait_are_done_in_place() -> None:
    seen: list[str] = []

    async def scenario() -> bool:
        master = SidecarMaster(Options())
        master.addons.add(Waiter("a", seen, waits=False))
        return master.addons.call_in_place(hooks.RunningHook())

    assert asyncio.run(scenario()) is True
    assert seen == ["a"]


def test_a_fault_while_a_guarded_hook_waits_is_its_addons_fault() -> None:
    found: list[tuple[str, str]] = []

    class Addon:
        def on_fault(self, hook: str, error: BaseException, subject: Any) -> None:
            found.append((hook, str(error)))

        @guarded
        def requestheaders(self, flow: str) -> Coroutine[Any, Any, None]:
            return self._wait(flow)

        async def _wait(self, flow: str) -> None:
            raise RuntimeError(flow)

    asyncio.run(Addon().requestheaders("flow"))  # type: ignore[arg-type]
    assert found == [("requestheaders", "flow")]


# What must not leave.


def test_the_configured_header_and_service_tokens_in_any_header_are_stripped() -> None:
    scan = Scan("x-acme-who")
    pair = b'{"cf-access-client-id": "a", "CF-Access-Client-Secret": "b"}'
    fields = (
        (b"X-Acme-Who", b"eyJ"),
        (b"Authorization", pair),
        (b"x-any", b"  " + pair),
        (b"Authorization", b"Bearer sk"),
        (b"x", b"{}"),
    )
    assert strip(fields, scan) == ((b"Authorization", b"Bearer sk"), (b"x", b"{}"))
    assert (b"x-acme-who", b"eyJ") in strip(((b"x-acme-who", b"eyJ"),)), "only where it is configured"


def test_names_that_clients_make_up_are_not_remembered_without_end() -> None:
    scan = Scan("x-acme-who")
    for number in range(MAX_SPELLINGS + 100):
        scan.kind(b"x-%d" % number)
    assert len(scan.spellings) == MAX_SPELLINGS
    assert scan.offers(((b"Cf-Access-Token", b"t"), (b"accept", b"*/*"))) == ((b"Cf-Access-Token", b"t"),)


@pytest.fixture
def make_hooks(make_road: MakeRoad) -> Callable[..., Hooks]:
    def make(policy: str = "", **options: Any) -> Hooks:
        stages = make_road(policy).stages
        return Hooks(stages, Door(stages, credentials=options.pop("credentials", {}), **options), drain_seconds=0, status=dict)

    return make


def flow_with(headers: list[tuple[bytes, bytes]], host: str = "api.openai.com") -> HTTPFlow:
    request = tutils.treq(
        host=host, port=443, scheme=b"https", authority=b"", path=b"/v1/chat/completions", method=b"POST", content=BODY
    )
    request.headers.fields = ((b"host", host.encode()), *headers)
    flow = tflow.tflow(req=request)
    flow.client_conn.sni = host
    return flow


async def through(addon: Hooks, flow: HTTPFlow) -> HTTPFlow:
    """The hooks of a request, as the proxy fires them."""
    waiting: Any = addon.requestheaders(flow)  # type: ignore[func-returns-value]
    if waiting is not None:
        await waiting
    if flow.response is None:
        await addon.request(flow)
    assert addon.stages.counters.calls or addon.stages.counters.faults or flow.response is not None
    return flow


def test_a_fault_in_finding_out_who_calls_leaks_nothing(
    make_hooks: Callable[..., Hooks], caplog: pytest.LogCaptureFixture
) -> None:
    addon = make_hooks()
    addon.stages.desk.at_once = None  # type: ignore[method-assign, assignment]
    flow = run(through(addon, flow_with([(b"cf-access-token", b"secret"), (b"x-api-key", b"k")])))
    assert "cf-access-token" not in flow.request.headers
    assert flow.request.headers["x-api-key"] == "k"
    assert addon.stages.counters.faults == 1
    assert "secret" not in caplog.text


def test_trailers_of_a_request_are_stripped_too(make_hooks: Callable[..., Hooks]) -> None:
    flow = flow_with([(b"content-type", b"application/json")])
    flow.request.trailers = tutils.treq().headers
    flow.request.trailers.fields = ((b"cf-access-token", b"secret"), (b"x-checksum", b"1"))
    run(through(make_hooks(), flow))
    assert flow.request.trailers.fields == ((b"x-checksum", b"1"),)


# Proxy passwords.


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize(
    ("sent", "status"),
    [((), 407), ((basic("run-1", "s" * 32),), None), ((basic("run-1", "wrong"),), 407), ((basic("run-1", "s" * 32),) * 2, 407)],
)
def test_a_proxy_that_asks_for_a_password_lets_nobody_in_without_it(
    sent: tuple[bytes, ...], status: int | None, make_hooks: Callable[..., Hooks]
) -> None:
    addon = make_hooks(credentials={"run-1": "s" * 32}, is_shared=False)
    flow = tflow.tflow(req=tutils.treq(method=b"CONNECT", host="api.openai.com", port=443))
    flow.request.headers.fields = tuple((b"proxy-authorization", value) for value in sent)

    async def scenario() -> None:
        waiting: Any = addon.door.http_connect(flow)
        if waiting is not None:
            await waiting

    run(scenario())
    assert (flow.response.status_code if flow.response else None) == status
    assert "proxy-authorization" not in flow.request.headers
    if flow.response:
        assert b"s" * 32 not in (flow.response.content or b"")


def test_a_session_that_has_ended_shuts_an_enforcing_proxy_and_is_recorded_by_one_that_watches(
    make_hooks: Callable[..., Hooks], tmp_path: Path
) -> None:
    for policy, shut in ((ENFORCE, True), (OBSERVE, False)):
        addon = make_hooks(policy, credentials={"run-1": "s" * 32}, until=1)
        flow = tflow.tflow(req=tutils.treq(method=b"CONNECT", host="api.openai.com", port=443))
        flow.request.headers.fields = ((b"proxy-authorization", basic("run-1", "s" * 32)),)

        async def scenario(addon: Hooks = addon, flow: HTTPFlow = flow) -> HTTPFlow:
            await addon.door.http_connect(flow)  # type: ignore[misc]
            inner = flow_with([])
            inner.client_conn = flow.client_conn
            return await through(addon, inner) if flow.response is None else flow

        found = run(scenario())
        assert (found.response is not None and found.response.status_code == 407) is shut
        if not shut:
            assert found.metadata[WHO].refusal.why is Why.EXPIRED
            assert found.metadata[WHO].principal == ANONYMOUS


# Calls whose proof is wrong, or missing.


@pytest.mark.parametrize("endpoint", [CHAT, MODELS], ids=["metered", "free"])
def test_a_wrong_proof_is_refused_in_the_providers_shape_and_recorded(endpoint: Any, make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road(ENFORCE)
    passage = run(road.admit(endpoint, endpoint.path, BODY, ANONYMOUS, PROJECT, fault=WRONG))
    assert passage.refusal is not None
    assert b"its signature is wrong" in passage.refusal.body
    assert b"log in again" in passage.refusal.body
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["kind"], entry["subject"], entry["rule"], entry["would"]) == ("refuse", "anonymous", "identity", "refuse")
    assert road.stages.counters.identity_refusals == 1


@pytest.mark.parametrize("endpoint", [CHAT, MODELS], ids=["metered", "free"])
def test_while_watching_a_wrong_proof_goes_on_as_nobodys_and_says_what_would_have_been(
    endpoint: Any, make_road: MakeRoad, tmp_path: Path
) -> None:
    road = make_road(OBSERVE)

    async def scenario() -> None:
        passage = await road.admit(endpoint, endpoint.path, BODY, ANONYMOUS, PROJECT, fault=WRONG)
        assert passage.refusal is None
        await road.settle(passage, Outcome.ABORTED, cut=True, sent=False)

    run(scenario())
    last = entries(tmp_path / "ledger.db")[-1]
    assert (last["subject"], last["verdict"], last["would"], last["rule"]) == ("anonymous", "allow", "refuse", "identity")


def test_no_proof_at_all_is_refused_by_the_policys_own_word(make_road: MakeRoad) -> None:
    refused = run(make_road(ENFORCE + 'on_no_identity = "refuse"\n').admit(CHAT, CHAT.path, BODY, ANONYMOUS, PROJECT, fault=NONE))
    assert refused.decision.rule == "on_no_identity"
    assert refused.refusal is not None


def test_a_known_caller_is_let_through_where_proofs_are_wanted(make_road: MakeRoad) -> None:
    road = make_road(ENFORCE + 'on_no_identity = "refuse"\n')
    assert run(road.admit(CHAT, CHAT.path, BODY, ADA, PROJECT)).decision.verdict is Verdict.ALLOW


ASSURED = {
    "budget": '[budget.person]\namount = "9 USD"\nwindow = "day"\nmin_assurance = "{}"\n',
    "model": '[model.all]\nmodel = "*"\nmin_assurance = "{}"\n',
}


@pytest.mark.parametrize("rule", ASSURED)
@pytest.mark.parametrize("least", [one for one in Assurance if one is not Assurance.NONE])
def test_a_budget_and_a_model_rule_refuse_whoever_is_less_sure_than_they_demand(
    rule: str, least: Assurance, make_road: MakeRoad
) -> None:
    road = make_road(ENFORCE + ASSURED[rule].format(least.value))
    order = list(Assurance)  # the surest first
    found = {
        shown: run(road.admit(CHAT, CHAT.path, BODY, replace(ADA, assurance=shown), PROJECT)).decision.verdict for shown in order
    }
    served = order[: order.index(least) + 1]
    assert found == {shown: Verdict.ALLOW if shown in served else Verdict.REFUSE for shown in order}


def test_every_word_of_the_policy_means_something_at_the_desk() -> None:
    assert {word.value: rule.value for word, rule in ON_NO_IDENTITY.items()} == {
        "default": "default", "open": "default", "mark": "mark", "refuse": "refuse", "closed": "refuse",
    }  # fmt: skip


def test_a_connection_that_is_not_opened_is_refused_for_a_wrong_proof(make_road: MakeRoad, tmp_path: Path) -> None:
    unopened = Unopened(make_road(ENFORCE).stages)
    known = HostTable.load().find("api2.cursor.sh")
    assert known is not None

    async def scenario() -> str | None:
        reason = unopened.admit(known, "api2.cursor.sh", ANONYMOUS, PROJECT, WRONG)
        await unopened.drain()
        return reason

    assert run(scenario()) == "its signature is wrong"
    (entry,) = entries(tmp_path / "ledger.db")
    assert (entry["kind"], entry["rule"]) == ("refuse", "identity")


# Where a call comes from.

PEER = Peer(
    uid=os.getuid(), pid=1, command="claude", folder="/src", container="0f0f", place=Place("github.com/acme/app", "main", "/src")
)
JOB = {"repository": "acme/app", "run_id": "7", "ref": "refs/heads/release", "actor": "eve"}


def test_what_the_sidecar_says_itself_beats_the_token_which_beats_the_process() -> None:
    plain = attributed(Attribution(), {}, PEER, "codex")
    assert (plain.project, plain.branch, plain.process, plain.container) == ("github.com/acme/app", "main", "claude", "0f0f")
    assert (plain.os_user, plain.client, plain.run) == (user_name(os.getuid()), "codex", "")
    job = attributed(Attribution(), JOB, PEER, "")
    assert (job.project, job.branch, job.run, job.tags) == ("acme/app", "release", "github:acme/app:7", (("actor", "eve"),))
    own = Attribution(project="billing", branch="b", run="r", session="s", tags=(("actor", "own"),))
    kept = attributed(own, JOB, PEER, "")
    assert (kept.project, kept.branch, kept.run, kept.session, kept.tags) == ("billing", "b", "r", "s", (("actor", "own"),))
    assert attributed(own, {}, None, "").os_user == ""


def test_a_jobs_branch_is_never_mixed_with_another_checkouts() -> None:
    said = attributed(Attribution(), {"repository": "acme/app"}, PEER, "")
    assert (said.project, said.branch) == ("acme/app", "")


def test_the_origin_of_a_connection_is_worked_out_once(make_hooks: Callable[..., Hooks]) -> None:
    origins = make_hooks().door.origins
    proof = Proof(principal=ADA, evidence=JOB)
    who = Resolution(principal=ADA, proof=proof)
    first = origins.of("c", who, "curl")
    assert origins.of("c", who, "curl") is first
    assert origins.of("c", who, "other").client == "other"
    origins.forget("c")
    assert origins.of("c", None, "curl").run == ""


def test_the_owner_of_a_proxy_travels_to_it_with_groups_and_end() -> None:
    told = {"subject": "ada", "issuer": "https://a.example", "channel": "job", "assurance": "verified"}
    settings = Settings.from_json(Settings(principal=told, groups=("ml", "staff"), until=9).to_json())
    assert settings.owner == Principal(
        subject="ada", issuer="https://a.example", channel="job", assurance=Assurance.VERIFIED, groups=frozenset({"ml", "staff"})
    )
    assert settings.until == 9
