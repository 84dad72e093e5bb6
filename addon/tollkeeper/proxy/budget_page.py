"""``GET /v1/budget`` on the proxy's own address: what its caller may still spend, by the sums that enforcement goes by."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from mitmproxy import http

from tollkeeper.core.call import Ask, Attribution, Call, Endpoint, Metering
from tollkeeper.core.clock import to_datetime
from tollkeeper.core.errors import LedgerError
from tollkeeper.core.ids import new_id
from tollkeeper.core.principal import Principal
from tollkeeper.identity.channels import Resolution
from tollkeeper.ledger.balances import standings
from tollkeeper.policy.group_table import in_groups
from tollkeeper.policy.mine import budgets_of, covers_only, standing_as_json

from .replies import error_response
from .stages import Stages

PATH = "/v1/budget"


def is_budget_page(path: str) -> bool:
    """Whether a request to the proxy itself asks for this page."""
    return path.partition("?")[0].rstrip("/") == PATH


async def budget_answer(stages: Stages, who: Resolution, attribution: Attribution, path: str) -> http.Response:
    """The page as an answer: 401 with the reason to a caller whose calls are refused for what it shows, 503 without a ledger."""
    if who.refusal is not None and stages.policy.enforces:
        return error_response(401, str(who.refusal))
    try:
        page = await budget_page(stages, who.principal, attribution, path)
    except LedgerError as error:
        return error_response(503, str(error))
    return http.Response.make(200, json.dumps(page, ensure_ascii=False), {"content-type": "application/json"})


async def budget_page(stages: Stages, principal: Principal, attribution: Attribution, path: str) -> dict[str, Any]:
    """The page; ``?model=`` asks for the budgets over that model only. Raises ``LedgerError``."""
    return await asyncio.to_thread(_page, stages, principal, attribution, path)


def _page(stages: Stages, principal: Principal, attribution: Attribution, path: str) -> dict[str, Any]:
    at = stages.clock()
    model = parse_qs(path.partition("?")[2][:2_000], max_num_fields=20).get("model", [""])[0][:200] or None
    endpoint = Endpoint(provider="", host="", path="", operation="chat", metering=Metering.METERED)
    who = in_groups(stages.policy, principal)
    call = Call(id=new_id(at), started_at=at, endpoint=endpoint, ask=Ask(model=model), principal=who, attribution=attribution)
    found = budgets_of(stages.policy, call, at)
    standing = standings(stages.ledger.path, [limit for _, limit in found], at)
    return {
        "principal": principal.subject,
        "project": attribution.project,
        "at": f"{to_datetime(at):%Y-%m-%dT%H:%M:%SZ}",
        "mode": stages.policy.mode.value,
        "budgets": [
            {**standing_as_json(one, at), "acts": stages.policy.enforces and limit.enforced, "covers_only": covers_only(budget)}
            for (budget, limit), one in zip(found, standing, strict=True)
        ],
    }
