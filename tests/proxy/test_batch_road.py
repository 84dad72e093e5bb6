"""Batches, background work, plans and claims on the whole road: what is held, what is billed, and when."""

import json
from pathlib import Path
from typing import Any

from proxy.roads import ADA, PROJECT, MakeRoad, run
from tollkeeper.core.decision import Verdict
from tollkeeper.core.entry import Outcome
from tollkeeper.ledger.queries import report
from tollkeeper.ledger.verify import verify
from tollkeeper.proxy.passage import Passage
from tollkeeper.proxy.road import BATCH_UNSEEN, Road
from tollkeeper.wire.routes import endpoint_for

OPENAI, ANTHROPIC = "api.openai.com", "api.anthropic.com"
JSON, LINES = {"content-type": "application/json"}, {"content-type": "application/octet-stream"}
OAUTH = ((b"authorization", b"Bearer sk-ant-oat01-0123456789abcdef"),)

BUDGET = """
schema = 1
mode = "enforce"
{top}
[budget.daily]
amount = "{amount} USD"
window = "day"
share = "pool"
"""


async def pass_by(
    road: Road,
    call: tuple[str, str, str],
    body: bytes = b"",
    answer: Any = None,
    *,
    headers: dict[str, str] = JSON,
    fields: tuple[tuple[bytes, bytes], ...] = (),
    cut: bool = False,
) -> Passage:
    """One whole exchange; ``call`` is provider, method and path."""
    provider, method, path = call
    host = ANTHROPIC if provider == "anthropic" else OPENAI
    endpoint = endpoint_for(provider, host, method, path)
    passage = await road.admit(endpoint, path, body, ADA, PROJECT, fields=fields)
    if passage.refusal is None:
        road.listen(passage, 200, headers)
        assert passage.meter is not None
        passage.meter.feed(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
        await road.settle(passage, Outcome.OK, cut=cut)
    return passage


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def upload(*lines: Any) -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    file = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    return head + file + jsonl(*lines) + b"\r\n--xyz--\r\n"


def line(number: int, model: str = "gpt-4o-mini") -> Any:
    body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def result(number: int) -> Any:
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    body = {"id": f"chatcmpl-{number}", "model": "gpt-4o-mini-2024-07-18", "choices": [], "usage": usage}
    return {"id": f"batch_req_{number}", "custom_id": f"c{number}", "response": {"status_code": 200, "body": body}}


EACH = (1000 * 150 + 500 * 600) // 2
"""gpt-4o-mini at half of $0.15 and $0.60 per million."""
UP, MAKE = ("openai", "POST", "/v1/files"), ("openai", "POST", "/v1/batches")
LOOK, READ = ("openai", "GET", "/v1/batches/batch_1"), ("openai", "GET", "/v1/files/file-out/content")
ORDER = json.dumps({"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}).encode()
MADE = {"id": "batch_1", "object": "batch", "status": "validating"}
DONE = {"id": "batch_1", "object": "batch", "status": "completed", "output_file_id": "file-out", "usage": {"total_tokens": 6000}}


def test_a_batch_is_estimated_when_made_and_billed_once_when_read(make_road: MakeRoad, tmp_path: Path) -> None:
    road, ledger = make_road(), tmp_path / "ledger.db"

    async def scenario() -> tuple[int, int]:
        await pass_by(road, UP, upload(*(line(number) for number in range(4))), {"id": "file-in", "object": "file"})
        before = report(ledger).total
        assert (before.exposure_nanousd, before.cost_nanousd) == (0, 0)
        made = await pass_by(road, MAKE, ORDER, MADE)
        assert (made.call.model, [part.requests for part in made.call.ask.parts]) == ("gpt-4o-mini", [4])
        estimated = report(ledger).total
        assert estimated.deferred_calls == 1
        for _ in range(3):
            await pass_by(road, LOOK, b"", DONE)
        for _ in range(2):
            await pass_by(road, READ, b"", jsonl(*(result(number) for number in range(4))), headers=LINES)
        return estimated.exposure_nanousd, report(ledger).total.exposure_nanousd

    estimated, final = run(scenario())
    assert final == 4 * EACH
    assert estimated >= final
    total = report(ledger).total
    assert (total.cost_nanousd, total.deferred_calls, total.unpriced_calls) == (final, 0, 0)
    assert verify(ledger).is_sound


def test_reading_on_after_an_answer_that_broke_off_bills_the_rest(make_road: MakeRoad, tmp_path: Path) -> None:
    road = make_road()
    whole = jsonl(*(result(number) for number in range(4)))

    async def scenario() -> None:
        await pass_by(road, READ, b"", whole[: len(whole) // 2], headers=LINES, cut=True)
        await pass_by(road, READ, b"", whole, headers=LINES)

    run(scenario())
    assert report(tmp_path / "ledger.db").total.cost_nanousd == 4 * EACH


def test_a_batch_that_cannot_fit_is_refused_at_its_upload_and_at_its_making(make_road: MakeRoad, tmp_path: Path) -> None:
    lines = [line(number) for number in range(1000)]  # 1,000 × 1,000 tokens at $0.30 per million is $0.30

    async def scenario() -> tuple[Passage, Passage]:
        roomy = make_road()
        await pass_by(roomy, UP, upload(*lines), {"id": "file-in"})
        tight = make_road(BUDGET.format(top="", amount="0.10"))
        return await pass_by(tight, UP, upload(*lines), {"id": "file-2"}), await pass_by(tight, MAKE, ORDER, MADE)

    for passage in run(scenario()):
        assert passage.decision.verdict is Verdict.REFUSE
        assert passage.refusal is not None
        assert b"daily" in passage.refusal.body


def test_a_batch_that_fits_holds_its_place_until_it_is_read(make_road: MakeRoad) -> None:
    road = make_road(BUDGET.format(top="", amount="0.50"))

    async def scenario() -> list[Verdict]:
        found = await pass_by(road, UP, upload(*(line(number) for number in range(1000))), {"id": "file-in"})
        verdicts = [found.decision.verdict]
        for number in range(2):
            made = await pass_by(road, MAKE, ORDER, {**MADE, "id": f"batch_{number}"})
            verdicts.append(made.decision.verdict)
        return verdicts

    assert run(scenario()) == [Verdict.ALLOW, Verdict.ALLOW, Verdict.REFUSE]


def test_a_model_that_a_budget_blocks_cannot_hide_in_a_line(make_road: MakeRoad) -> None:
    policy = 'schema = 1\nmode = "enforce"\n[budget.no-opus]\namount = "0 USD"\nwindow = "day"\nmodel = "*opus*"\n'
    road = make_road(policy)

    def request(model: str) -> Any:
        return {"custom_id": model, "params": {"model": model, "max_tokens": 10, "messages": []}}

    async def scenario() -> list[Verdict]:
        call, made = ("anthropic", "POST", "/v1/messages/batches"), {"id": "msgbatch_1", "type": "message_batch"}
        found = []
        for models in (["claude-haiku-4-5"], ["claude-haiku-4-5", "claude-opus-4-6"]):
            body = json.dumps({"requests": [request(model) for model in models]}).encode()
            found.append((await pass_by(road, call, body, made)).decision.verdict)
        return found

    assert run(scenario()) == [Verdict.ALLOW, Verdict.REFUSE]


def test_a_batch_of_a_file_that_never_passed_here_is_admitted_marked_and_stopped_by_a_spent_budget(make_road: MakeRoad) -> None:
    open_road = run(pass_by(make_road(BUDGET.format(top="", amount="1")), MAKE, ORDER, MADE))
    assert (open_road.decision.verdict, open_road.notes) == (Verdict.ALLOW, (BATCH_UNSEEN,))
    spent = run(pass_by(make_road(BUDGET.format(top="", amount="0")), MAKE, ORDER, MADE))
    assert spent.decision.verdict is Verdict.REFUSE


def test_any_other_upload_is_free_and_passes_a_spent_budget(make_road: MakeRoad) -> None:
    body = upload(line(1)).replace(b"batch", b"vision")
    passage = run(pass_by(make_road(BUDGET.format(top="", amount="0")), UP, body, {"id": "file-1"}))
    assert (passage.decision.verdict, passage.call.endpoint.metering.value, passage.held) == (Verdict.ALLOW, "free", False)


def test_a_background_response_is_billed_where_it_is_read_and_polls_pass_a_spent_budget(
    make_road: MakeRoad, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.db"
    road = make_road(BUDGET.format(top="", amount="0.001"))
    usage = {"input_tokens": 1000, "output_tokens": 20_000, "total_tokens": 21_000}
    ended = {"id": "resp_1", "status": "completed", "background": True, "model": "gpt-4o-mini", "output": [], "usage": usage}
    ask = json.dumps({"model": "gpt-4o-mini", "input": "hi", "background": True, "max_output_tokens": 1000}).encode()

    async def scenario() -> None:
        await pass_by(road, ("openai", "POST", "/v1/responses"), ask, {**ended, "status": "queued", "usage": None})
        assert report(ledger).total.deferred_calls == 1
        for answer in ({**ended, "status": "in_progress", "usage": None}, ended, ended, ended):
            found = await pass_by(road, ("openai", "GET", "/v1/responses/resp_1"), b"", answer)
            assert found.decision.verdict is Verdict.ALLOW

    run(scenario())
    total = report(ledger).total
    assert (total.cost_nanousd, total.exposure_nanousd, total.deferred_calls) == (12_150_000, 12_150_000, 0)
    assert verify(ledger).is_sound


def test_a_plans_call_stays_out_of_budgets_unless_the_policy_counts_it(make_road: MakeRoad, tmp_path: Path) -> None:
    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}).encode()
    answer = {"id": "msg_1", "model": "claude-haiku-4-5", "usage": {"input_tokens": 1000, "output_tokens": 1000}}
    call = ("anthropic", "POST", "/v1/messages")
    windows = {**JSON, "anthropic-ratelimit-unified-5h-utilization": "0.25", "anthropic-ratelimit-unified-5h-reset": "1795400000"}
    apart = make_road(BUDGET.format(top="", amount="0"))
    passage = run(pass_by(apart, call, body, answer, headers=windows, fields=OAUTH))
    assert (passage.decision.verdict, passage.call.plan) == (Verdict.ALLOW, "claude")
    found = report(tmp_path / "ledger.db")
    assert (found.total.list_cost_nanousd, found.total.cost_nanousd, found.total.exposure_nanousd) == (6_000_000, 0, 0)
    assert [(window.name, window.used_ppm) for window in found.plan_windows] == [("5h", 250_000)]
    assert apart.stages.counters.plan_windows["claude/5h"]["used_ppm"] == 250_000
    counted = make_road(BUDGET.format(top='plan_traffic = "count"', amount="0"))
    assert run(pass_by(counted, call, body, answer, fields=OAUTH)).decision.verdict is Verdict.REFUSE
    assert run(pass_by(apart, call, body, answer)).decision.verdict is Verdict.REFUSE  # the same call with a key


def test_claims_are_recorded_and_no_budget_goes_by_them(make_road: MakeRoad, tmp_path: Path) -> None:
    policy = 'schema = 1\nmode = "enforce"\n[budget.x]\namount = "0 USD"\nwindow = "day"\nproject = "billing"\n'
    body = json.dumps({"model": "gpt-4o-mini", "messages": [], "user": "u1"}).encode()
    fields = ((b"OpenAI-Project", b"other"), (b"session-id", b"s9"), (b"authorization", b"Bearer sk-proj-secretsecret"))
    chat = ("openai", "POST", "/v1/chat/completions")
    assert run(pass_by(make_road(policy), chat, body, {}, fields=fields)).decision.verdict is Verdict.REFUSE
    run(pass_by(make_road(), chat, body, {"usage": {"prompt_tokens": 1}}, fields=fields))
    (group,) = report(tmp_path / "ledger.db", by=("user", "client-project", "conversation", "project")).groups
    assert group.keys == ("u1", "other", "s9", "billing")
    assert b"secretsecret" not in (tmp_path / "ledger.db").read_bytes()


def test_a_refusal_inside_a_good_answer_is_on_record(make_road: MakeRoad, tmp_path: Path) -> None:
    answer = {
        "id": "msg_1",
        "model": "claude-haiku-4-5",
        "stop_reason": "refusal",
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 10, "messages": []}).encode()
    run(pass_by(make_road(), ("anthropic", "POST", "/v1/messages"), body, answer))
    (group,) = report(tmp_path / "ledger.db", by=("refusal",)).groups
    assert (group.keys, group.declined, group.cost_nanousd) == (("refusal",), 1, 15_000)
