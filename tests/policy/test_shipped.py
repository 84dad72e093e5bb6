"""What ships with the policy room: ready documents, the schema for editors, the page for people."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.principal import Assurance
from tollkeeper.core.resources import data
from tollkeeper.policy.condition import MAX_CONDITION_CHARS
from tollkeeper.policy.document import (
    BUDGET_KEYS,
    DOCUMENT_KEYS,
    MAX_BUDGETS,
    MAX_MODEL_RULES,
    MAX_ROUTES,
    MODEL_KEYS,
    NAME_PATTERN,
    ON_EXCEED_KEYS,
    ROUTE_KEYS,
    load_policy,
    parse_policy,
)
from tollkeeper.policy.egress_table import EGRESS_KEYS, MAX_HOST_CHARS, MAX_HOSTS
from tollkeeper.policy.fields import MAX_MESSAGE_CHARS, MAX_NAME_CHARS, MAX_PATTERNS, MAX_THRESHOLDS
from tollkeeper.policy.globs import MAX_PATTERN_CHARS
from tollkeeper.policy.ladder import CLAMP_KEYS, KEY_PATTERN, MAX_TARGETS, TARGET_KEYS, TIMEOUT_PATTERN, WORDS
from tollkeeper.policy.model import EFFORTS, Field, HoldSize, Mode, OnFailure, OnNoIdentity, Others, Share, UnknownModel
from tollkeeper.policy.route_table import PERCENT
from tollkeeper.policy.scoping import SCOPE_KEYS
from tollkeeper.policy.spans import ROLLING_PATTERN
from tollkeeper.policy.windows import WEEKDAYS, WindowKind
from tollkeeper.policy.words import notes

POLICIES = data("policies")
SCHEMA: dict[str, Any] = json.loads((POLICIES / "schema.json").read_text("utf-8"))
DEFINITIONS: dict[str, Any] = SCHEMA["definitions"]
BUDGET: dict[str, Any] = DEFINITIONS["budget"]
PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", ["observe", "laptop", "team", "ci"])
def test_every_ready_policy_parses_and_surprises_nobody(name: str) -> None:
    policy = load_policy(POLICIES / f"{name}.toml")
    assert policy.budgets
    assert policy.enforces is (name != "observe")
    assert [note for note in notes(policy) if not note.startswith("nothing is blocked")] == []


def test_no_ready_policy_is_left_untested() -> None:
    assert sorted(file.stem for file in POLICIES.glob("*.toml")) == ["ci", "laptop", "observe", "team"]


@pytest.mark.parametrize("name", ["observe", "laptop", "team", "ci"])
def test_every_ready_policy_names_the_schema_for_editors(name: str) -> None:
    assert (POLICIES / f"{name}.toml").read_text("utf-8").startswith("#:schema ./schema.json\n")


def test_the_pipeline_s_policy_is_closed_and_the_laptop_s_is_open() -> None:
    closed, open_ = load_policy(POLICIES / "ci.toml"), load_policy(POLICIES / "laptop.toml")
    assert (closed.on_fault, closed.on_ledger_error, closed.unknown_model) == ("closed", "closed", "refuse")
    assert (open_.on_fault, open_.on_ledger_error, open_.unknown_model) == ("open", "open", "ceiling")


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DEFINITIONS[name]["properties"]
    return found


def on_exceed() -> dict[str, Any]:
    found: dict[str, Any] = DEFINITIONS["rung"]["oneOf"][1]["properties"]
    return found


def target() -> dict[str, Any]:
    found: dict[str, Any] = DEFINITIONS["target"]["oneOf"][1]["properties"]
    return found


def test_schema_and_parser_know_the_same_keys() -> None:
    assert tuple(SCHEMA["properties"]) == DOCUMENT_KEYS
    assert tuple(BUDGET["properties"]) == BUDGET_KEYS
    assert tuple(properties("model_rule")) == MODEL_KEYS
    assert tuple(properties("route")) == ROUTE_KEYS
    assert tuple(on_exceed()) == ON_EXCEED_KEYS
    assert tuple(on_exceed()["clamp"]["oneOf"][1]["properties"]) == CLAMP_KEYS
    assert tuple(target()) == TARGET_KEYS
    assert tuple(DEFINITIONS["way"]["oneOf"][1]["properties"]) == (*TARGET_KEYS, PERCENT)
    assert tuple(properties("scope")) == SCOPE_KEYS
    assert tuple(SCHEMA["properties"]["egress"]["properties"]) == EGRESS_KEYS
    assert SCHEMA["properties"]["egress"]["properties"]["others"]["enum"] == list(Others)
    assert (DEFINITIONS["hosts"]["maxItems"], DEFINITIONS["hosts"]["items"]["maxLength"]) == (MAX_HOSTS, MAX_HOST_CHARS)


def test_schema_and_parser_know_the_same_words_and_limits() -> None:
    top, budget = SCHEMA["properties"], BUDGET["properties"]
    assert top["mode"]["enum"] == budget["mode"]["enum"] == list(Mode)
    for key in ("on_fault", "on_ledger_error"):
        assert top[key]["enum"] == list(OnFailure)
    assert top["on_no_identity"]["enum"] == list(OnNoIdentity)
    assert top["unknown_model"]["enum"] == list(UnknownModel)
    assert top["hold"]["enum"] == list(HoldSize)
    assert budget["share"]["enum"] == list(Share)
    assert budget["min_assurance"]["enum"] == list(Assurance)
    assert DEFINITIONS["field"]["enum"] == list(Field)
    assert DEFINITIONS["effort"]["enum"] == list(EFFORTS)
    assert DEFINITIONS["weekday"]["enum"] == list(WEEKDAYS)
    assert DEFINITIONS["rung"]["oneOf"][0]["enum"] == list(WORDS)
    calendar, rolling = budget["window"]["anyOf"]
    assert calendar["enum"] == [kind for kind in WindowKind if kind is not WindowKind.ROLLING]
    assert rolling["pattern"] == f"^{ROLLING_PATTERN}$"
    for kind, most in (("budget", MAX_BUDGETS), ("model", MAX_MODEL_RULES), ("route", MAX_ROUTES)):
        assert top[kind]["propertyNames"]["pattern"] == f"^{NAME_PATTERN}$"
        assert top[kind]["maxProperties"] == most
    assert DEFINITIONS["pattern"]["maxLength"] == MAX_PATTERN_CHARS
    assert budget["model"]["oneOf"][1]["maxItems"] == MAX_PATTERNS
    assert DEFINITIONS["model"]["maxLength"] == MAX_NAME_CHARS
    assert DEFINITIONS["targets"]["oneOf"][1]["maxItems"] == MAX_TARGETS
    assert budget["message"]["maxLength"] == MAX_MESSAGE_CHARS
    assert budget["when"]["maxLength"] == MAX_CONDITION_CHARS
    assert budget["warn_at"]["oneOf"][1]["maxItems"] == MAX_THRESHOLDS
    assert target()["key"]["pattern"] == f"^({KEY_PATTERN})$"
    assert target()["timeout"]["pattern"] == f"^{TIMEOUT_PATTERN}$"


@pytest.mark.parametrize(
    "amount", ["5 USD", "$7", "0.25 USD", "2.5M tokens", "100 requests", "1 token", "3 calls", "unlimited", "unlimited tokens"]
)
def test_schema_and_parser_read_the_same_amounts(amount: str) -> None:
    assert re.fullmatch(BUDGET["properties"]["amount"]["pattern"], amount)
    assert parse_policy(f'[budget.b]\namount = "{amount}"\nwindow = "day"', "policy.toml").budgets


EXAMPLES = {
    "schema": "1", "mode": '"enforce"', "zone": '"Europe/Rome"', "week_starts": '"sunday"', "on_fault": '"closed"',
    "on_ledger_error": '"open"', "on_no_identity": '"closed"', "unknown_model": '"refuse"', "websockets": '"refuse"',
    "plan_traffic": '"count"', "hold": '"worst"', "on_rewrite_error": '"resend"', "refusal": '"message"',
    "mid_stream_stop": "true", "steering": "true",
    "egress": '{ others = "refuse", allow = ["pypi.org", "*.example.com:8443"], internal = ["db.example"], strict = true }',
    "groups": '{ research = ["ada@example.com", "bo at https://login.example.com"] }',
    "amount": '"1 USD"', "window": '"week"', "share": '"each"', "per": '"model"',
    "principal": '"ada"', "project": '"x"', "model": '["a*"]', "provider": '"openai"', "group": '"ml"', "issuer": '"okta"',
    "assurance": '"verified"', "operation": '"chat"', "branch": '"main"', "tool": '"codex"', "session": '"s"', "run": '"r"',
    "agent_class": '"subagent"', "os_user": '"ada"', "process": '"claude"', "container": '"0f0f"',
    "label": '{ team = "ml*" }', "header": '{ x-team = ["a", "b"] }', "when": """'model == "x"'""",
    "min_assurance": '"static"', "on_exceed": '["warn", "clamp", { downgrade = ["m", { model = "n", key = "env:K" }] }, "refuse"]',
    "warn_at": '[50, "90%"]', "rollover": "true", "message": '"Ask."', "except": '{ group = "ml" }', "allow": '"a*"', "deny": '"b*"',
    "max_cost": '"0.50 USD"', "max_output_tokens": "1000", "max_effort": '"low"', "max_parallel": "4", "max_per_minute": "60",
    "to": '[{ model = "m", percent = 20, timeout = "20s" }]', "fallback": '"n"', "anytime": "true",
}  # fmt: skip


def test_every_key_of_the_schema_can_be_written() -> None:
    top = [f"{key} = {EXAMPLES[key]}" for key in SCHEMA["properties"] if key not in {"budget", "model", "route", "alert"}]
    tables = {"budget": BUDGET["properties"], "model": properties("model_rule"), "route": properties("route")}
    for kind, keys in tables.items():
        top += [f"[{kind}.all]", *(f"{key} = {EXAMPLES[key]}" for key in keys)]
    read = parse_policy("\n".join(top), "all.toml")
    assert (len(read.budgets), len(read.models), len(read.routes)) == (1, 1, 1)
    assert read.headers == {"x-team"}
    assert (read.egress.strict, read.egress.internal) == (True, ("db.example",))


@pytest.mark.parametrize("missing", BUDGET["required"])
def test_what_the_schema_requires_the_parser_requires(missing: str) -> None:
    lines = [f"{key} = {EXAMPLES[key]}" for key in BUDGET["required"] if key != missing]
    with pytest.raises(ConfigError, match=f"has no {missing}"):
        parse_policy("\n".join(["[budget.b]", *lines]), "policy.toml")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_document_on_the_page_parses(number: int) -> None:
    read = parse_policy(BLOCKS[number], "docs/policy.md")
    assert read.budgets or read.models or read.routes or read.alerts or read.egress.allow


def test_the_page_names_every_key() -> None:
    assert [
        key
        for key in dict.fromkeys(
            (*DOCUMENT_KEYS, *BUDGET_KEYS, *MODEL_KEYS, *ROUTE_KEYS, *ON_EXCEED_KEYS, *CLAMP_KEYS, *TARGET_KEYS, *EGRESS_KEYS)
        )
        if not re.search(rf"`[^`]*\b{key}\b[^`]*`", PAGE)
    ] == []


def test_the_mistakes_on_the_page_are_told_as_it_says() -> None:
    text = '\n\n\n\n\n[budget.day]\namuont = "5 USD"\n\nwindow = "daily"\namount = "5 USD"\n'
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "policy.toml")
    assert str(caught.value) in PAGE
