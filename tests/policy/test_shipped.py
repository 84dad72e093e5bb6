"""What ships with the policy room: ready documents, the schema for editors, the page for people."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.resources import data
from tollkeeper.policy.document import BUDGET_KEYS, DOCUMENT_KEYS, NAME_PATTERN, ON_EXCEED_KEYS, load_policy, parse_policy
from tollkeeper.policy.fields import MAX_MESSAGE_CHARS, MAX_MODELS, MAX_NAME_CHARS, MAX_PATTERNS
from tollkeeper.policy.globs import MAX_PATTERN_CHARS
from tollkeeper.policy.model import Field, Mode, OnFailure, Share, UnknownModel
from tollkeeper.policy.spans import ROLLING_PATTERN
from tollkeeper.policy.windows import WEEKDAYS, WindowKind
from tollkeeper.policy.words import notes

POLICIES = data("policies")
SCHEMA: dict[str, Any] = json.loads((POLICIES / "schema.json").read_text("utf-8"))
BUDGET: dict[str, Any] = SCHEMA["definitions"]["budget"]
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


def test_schema_and_parser_know_the_same_keys() -> None:
    assert tuple(SCHEMA["properties"]) == DOCUMENT_KEYS
    assert tuple(BUDGET["properties"]) == BUDGET_KEYS
    assert tuple(on_exceed()["properties"]) == ON_EXCEED_KEYS


def on_exceed() -> dict[str, Any]:
    found: dict[str, Any] = BUDGET["properties"]["on_exceed"]["oneOf"][1]
    return found


def test_schema_and_parser_know_the_same_words_and_limits() -> None:
    top, budget, definitions = SCHEMA["properties"], BUDGET["properties"], SCHEMA["definitions"]
    assert top["mode"]["enum"] == budget["mode"]["enum"] == list(Mode)
    assert top["on_fault"]["enum"] == top["on_ledger_error"]["enum"] == list(OnFailure)
    assert top["unknown_model"]["enum"] == list(UnknownModel)
    assert budget["share"]["enum"] == list(Share)
    assert definitions["field"]["enum"] == list(Field)
    assert definitions["weekday"]["enum"] == list(WEEKDAYS)
    calendar, rolling = budget["window"]["anyOf"]
    assert calendar["enum"] == [kind for kind in WindowKind if kind is not WindowKind.ROLLING]
    assert rolling["pattern"] == f"^{ROLLING_PATTERN}$"
    assert top["budget"]["propertyNames"]["pattern"] == f"^{NAME_PATTERN}$"
    assert definitions["pattern"]["maxLength"] == MAX_PATTERN_CHARS
    assert budget["model"]["oneOf"][1]["maxItems"] == MAX_PATTERNS
    assert definitions["model"]["maxLength"] == MAX_NAME_CHARS
    assert on_exceed()["properties"]["rewrite"]["oneOf"][1]["maxItems"] == MAX_MODELS
    assert budget["message"]["maxLength"] == MAX_MESSAGE_CHARS


EXAMPLES = {
    "schema": "1", "mode": '"enforce"', "zone": '"Europe/Rome"', "week_starts": '"sunday"', "on_fault": '"closed"',
    "on_ledger_error": '"open"', "unknown_model": '"refuse"', "amount": '"1 USD"', "window": '"week"', "share": '"each"',
    "per": '"model"', "principal": '"ada"', "project": '"x"', "model": '["a*"]', "provider": '"openai"',
    "on_exceed": '{ rewrite = "m" }', "message": '"Ask."',
}  # fmt: skip


def test_every_key_of_the_schema_can_be_written() -> None:
    top = [f"{key} = {EXAMPLES[key]}" for key in SCHEMA["properties"] if key != "budget"]
    budget = [f"{key} = {EXAMPLES[key]}" for key in BUDGET["properties"]]
    assert len(parse_policy("\n".join(chain(top, ["[budget.all]"], budget)), "all.toml").budgets) == 1


@pytest.mark.parametrize("missing", BUDGET["required"])
def test_what_the_schema_requires_the_parser_requires(missing: str) -> None:
    lines = [f"{key} = {EXAMPLES[key]}" for key in BUDGET["required"] if key != missing]
    with pytest.raises(ConfigError, match=f"has no {missing}"):
        parse_policy("\n".join(["[budget.b]", *lines]), "policy.toml")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_document_on_the_page_parses(number: int) -> None:
    assert parse_policy(BLOCKS[number], "docs/policy.md").budgets


def test_the_page_names_every_key() -> None:
    assert [
        key for key in (*DOCUMENT_KEYS, *BUDGET_KEYS, *ON_EXCEED_KEYS) if not re.search(rf"`[^`]*\b{key}\b[^`]*`", PAGE)
    ] == []


def test_the_mistakes_on_the_page_are_told_as_it_says() -> None:
    text = '\n\n\n\n\n[budget.day]\namuont = "5 USD"\n\nwindow = "daily"\namount = "5 USD"\n'
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "policy.toml")
    assert str(caught.value) in PAGE
