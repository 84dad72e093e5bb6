"""Overlays price, correct, discount and alias; a mistake is refused with file, line and the nearest key."""

from decimal import Decimal
from pathlib import Path

import pytest

from pricing.conftest import LoadOverlay, MakeCall, MakeReading
from tollkeeper.core.charge import CostSource
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.resources import data
from tollkeeper.core.usage import Usage
from tollkeeper.pricing.overlay import load_overlay

MILLION = Usage(input_tokens=1_000_000)
P = "[[price]]\nprovider = 'x'\nmatch = { equals = 'y' }\n"
OWN = """
[[price]]
host = "vllm.example.com"
match = { starts_with = "qwen3" }
input_mtok = "0.20"
output_mtok = "0.80"
"""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            P + "input_mto = '1'",
            5,
            'unknown key "input_mto"; did you mean "input_mtok"?',
        ),
        ("[[prise]]\n", 2, 'unknown key "prise"; did you mean "price"?'),
        (P + "", 2, "has no rate"),
        ("[[price]]\nprovider = 'x'\ninput_mtok = '1'\n", 2, "says no model"),
        ("[[price]]\nmatch = { equals = 'y' }\ninput_mtok = '1'\n", 2, "names no provider"),
        (P + "input_mtok = 0.5\n", 5, "must be a string"),
        (P + "input_mtok = 'a lot'\n", 5, "is not a number"),
        (P + "input_mtok = '-1'\n", 5, "between 0 and"),
        (P + "input_mtok = 'NaN'\n", 5, "between 0 and"),
        ("[[price]]\nprovider = 'x'\nmatch = { like = 'y' }\ninput_mtok = '1'\n", 4, 'unknown clause "like"'),
        ("[[price]]\nprovider = 'x'\nmatch = { regex = '(' }\ninput_mtok = '1'\n", 4, "does not compile"),
        ("[[price]]\nprovider = 'x'\nmatch = 'y'\ninput_mtok = '1'\n", 4, "match takes one clause"),
        (P + "from = '2026'\ninput_mtok = '1'\n", 5, "plain date"),
        (
            P + "from = 2026-02-01\nto = 2026-01-01\ninput_mtok = '1'\n",
            6,
            "is before from",
        ),
        (P + "when = { days = 'noday' }\ninput_mtok = '1'\n", 5, "is not like"),
        (
            P + "when = { hours_utc = ['25:00-26:00'] }\ninput_mtok = '1'\n",
            5,
            "is not like",
        ),
        (
            P + "input_mtok = '1'\ntiers = [{ above = 9, output_mtok = '1' }]\n",
            6,
            "no base rate",
        ),
        (
            P + "input_mtok = '1'\ntiers = [{ input_mtok = '1' }]\n",
            6,
            "needs above",
        ),
        ("[price]\nprovider = 'x'\n", 2, "[[price]]"),
        ("[[discount]]\nprovider = 'x'\nfactor = '1.5'\n", 4, "between 0 and 1"),
        ("[[discount]]\nprovider = 'x'\n", 2, "has no factor"),
        ("[[alias]]\nprovider = 'x'\nmodel = 'a'\n", 2, "has no is"),
        ("[[free]]\nprovider = 'x'\n", 2, "would make everything free"),
    ],
)
def test_a_mistake_is_refused_where_it_stands(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_overlay(Path("prices.toml"), "schema = 1\n" + text)
    assert str(caught.value).startswith(f"prices.toml:{line}: ")
    assert message in str(caught.value)


def test_the_schema_must_be_named() -> None:
    with pytest.raises(ConfigError, match="write schema = 1"):
        load_overlay(Path("prices.toml"), "")


def test_the_shipped_example_is_a_valid_overlay() -> None:
    overlay = load_overlay(data("pricing") / "overrides.example.toml")
    assert all((overlay.prices, overlay.discounts, overlay.multipliers, overlay.aliases, overlay.free))


def test_a_self_hosted_model_is_priced_by_host(overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading) -> None:
    call = make_call("unknown:vllm.example.com", "Qwen3-Coder", host="vllm.example.com")
    bill = overlaid(OWN).bill(call, make_reading(MILLION))
    assert (bill.cost_nanousd, bill.source) == (200_000_000, CostSource.COMPUTED)
    elsewhere = make_call("unknown:other.example.com", "qwen3-coder", host="other.example.com")
    assert overlaid(OWN).bill(elsewhere, make_reading(MILLION)).cost_nanousd is None


def test_an_overlay_beats_catalogue_and_shipped_corrections(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    book = overlaid("""
[[price]]
provider = "openai"
match = { any_of = [{ equals = "gpt-5" }, { starts_with = "ft:gpt-4.1" }, { contains = "moderation" }] }
input_mtok = "7"
""")
    for model in ("gpt-5", "ft:gpt-4.1-mini-2025-04-14:a::b", "omni-moderation-latest"):
        assert book.bill(make_call("openai", model), make_reading(MILLION)).cost_nanousd == 7 * 10**9


def test_the_newest_start_wins_and_windows_are_told_apart(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    entry = '[[price]]\nprovider = "openai"\nmatch = {{ equals = "gpt-5" }}\nfrom = {}\n{}input_mtok = "{}"\n'
    peak = 'when = { days = "mon-fri", hours_utc = ["22:30-02:00", "09:15-09:45"] }\n'
    book = overlaid(entry.format("2026-11-01", "", 3) + entry.format("2026-01-01", "", 2) + entry.format("2026-11-01", peak, 5))

    def price(when: str) -> Decimal | None:
        cost = book.bill(make_call("openai", "gpt-5", when=when), make_reading(MILLION)).cost_nanousd
        return None if cost is None else Decimal(cost) / 10**9

    assert price("2025-12-31 12:00") == Decimal("1.25")
    assert price("2026-05-01 12:00") == 2
    assert price("2026-11-18 12:00") == 3
    assert price("2026-11-18 09:14") == 3
    assert price("2026-11-18 09:15") == 5
    assert price("2026-11-18 09:44") == 5
    assert price("2026-11-18 09:45") == 3
    assert price("2026-11-18 23:00") == 5
    assert price("2026-11-18 01:59") == 5
    assert price("2026-11-18 02:00") == 3
    assert price("2026-11-22 23:00") == 3  # a Sunday


def test_tiers_and_terms_of_an_overlay_apply(overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading) -> None:
    book = overlaid("""
[[price]]
provider = "openai"
match = { equals = "gpt-5" }
input_mtok = "1"
tiers = [{ above = 200000, input_mtok = "2" }, { above = 500000, input_mtok = "3" }]
[[price]]
provider = "openai"
match = { equals = "gpt-5" }
terms = { service_tier = "flex" }
input_mtok = "0.1"
""")

    def cost(tokens: int, tier: str = "default") -> int | None:
        return book.bill(
            make_call("openai", "gpt-5"), make_reading(Usage(input_tokens=tokens), terms={"service_tier": tier})
        ).cost_nanousd

    assert cost(200_000) == 200_000 * 1_000
    assert cost(200_001) == 200_001 * 2_000
    assert cost(500_001) == 500_001 * 3_000
    assert cost(1_000, "flex") == 1_000 * 100


def test_a_gap_adds_only_what_the_catalogue_lacks(overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading) -> None:
    book = overlaid("""
[[gap]]
provider = "openai"
match = { equals = "gpt-4.1-nano" }
input_mtok = "99"
web_searches_kcount = "10"
""")
    usage = Usage(input_tokens=1_000, units={"web_search_requests": 1})
    assert book.bill(make_call("openai", "gpt-4.1-nano"), make_reading(usage)).cost_nanousd == 1_000 * 100 + 10_000_000


def test_an_alias_gives_a_deployment_its_models_price(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    book = overlaid('[[alias]]\nprovider = "azure"\nmodel = "Prod-Chat"\nis = "gpt-5"\n')
    line = book.bill(make_call("azure", "prod-chat"), make_reading(MILLION)).lines[0]
    assert (line.model, line.cost_nanousd) == ("prod-chat", 1_250_000_000)


def test_the_newest_discount_counts_and_they_never_add_up(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    text = '[[discount]]\nprovider = "openai"\nfactor = "{}"\nfrom = {}\n'
    book = overlaid(text.format("0.5", "2026-06-01") + text.format("0.9", "2026-01-01"))
    bill = book.bill(make_call("openai", "gpt-5"), make_reading(MILLION))
    assert (bill.list_cost_nanousd, bill.cost_nanousd) == (1_250_000_000, 625_000_000)


def test_a_discount_to_nothing_is_allowed_and_keeps_the_list_price(
    overlaid: LoadOverlay, make_call: MakeCall, make_reading: MakeReading
) -> None:
    bill = overlaid('[[discount]]\nprovider = "openai"\nfactor = "0"\n').bill(make_call("openai", "gpt-5"), make_reading(MILLION))
    assert (bill.list_cost_nanousd, bill.cost_nanousd, bill.source) == (1_250_000_000, 0, CostSource.COMPUTED)
