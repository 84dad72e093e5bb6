"""``tollkeeper prices``: data on stdout, narration on stderr, JSON on request, one line for an error."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from pricing.conftest import MakeCall, MakeReading
from tollkeeper.cli.prices import command
from tollkeeper.core.entry import Settlement
from tollkeeper.core.errors import ConfigError, PriceError, SetupError
from tollkeeper.core.paths import home
from tollkeeper.core.resources import data
from tollkeeper.core.usage import Usage
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.pricing.book import PriceBook


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=True)


def test_show_prints_every_rate_with_its_tiers_and_source() -> None:
    result = run("show", "claude-sonnet-4-5", "--at", "2026-11-20")
    assert result.exit_code == 0
    assert result.stdout.startswith("anthropic/claude-sonnet-4-5  (genai-prices ")
    assert "input_tokens\t$3 per 1M\t$6 above 200,000 input tokens" in result.stdout
    assert "web_search_requests\t$10 per 1,000" in result.stdout


def test_show_as_json_names_the_price_document() -> None:
    shown = json.loads(run("show", "o3", "--provider", "openai", "--at", "2025-06-01", "--json").stdout)
    assert {rate["unit"]: rate["usd"] for rate in shown["rates"]}["input_tokens"] == "10"
    assert len(shown["price_id"]) == 64


def test_an_unknown_model_is_an_error_that_names_the_nearest() -> None:
    result = run("show", "gtp-5")
    assert isinstance(result.exception, PriceError)
    assert 'the nearest name is "gpt-5"' in str(result.exception)


def test_list_finds_by_part_and_by_pattern() -> None:
    lines = run("list", "anthropic/*opus-4-5*").stdout.splitlines()
    assert "anthropic\tclaude-opus-4-5\t5\t25" in lines
    everything = json.loads(run("list", "--json").stdout)
    assert len(everything) > 2_000
    nothing = run("list", "no such model")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "nothing in the price list" in nothing.stderr


def test_the_users_own_overlay_is_in_force() -> None:
    home().make()
    home().prices.write_text(
        'schema = 1\n[[price]]\nname = "house"\nprovider = "acme"\nmatch = { equals = "house" }\ninput_mtok = "0.5"\noutput_mtok = "1"\n'
        '[[discount]]\nprovider = "openai"\nfactor = "0.8"\n'
    )
    assert "acme\thouse\t0.5\t1" in run("list", "house").stdout
    assert "× 0.8  your discount" in run("show", "gpt-5").stdout


def test_check_says_what_a_good_overlay_holds_and_where_a_bad_one_is_wrong(tmp_path: Path) -> None:
    good = run("check", str(data("pricing") / "overrides.example.toml"))
    assert good.stdout.endswith("fine (8 price, 1 gap, 1 discount, 1 multiplier, 1 alias, 1 free)\n")
    assert json.loads(run("check", str(data("pricing") / "gaps.toml"), "--json").stdout)["ok"] is True
    bad = tmp_path / "prices.toml"
    bad.write_text("schema = 1\n[[discuont]]\n")
    error = run("check", str(bad)).exception
    assert isinstance(error, ConfigError)
    assert str(error) == f'{bad}:2: unknown key "discuont"; did you mean "discount"?'


def test_check_asks_after_a_provider_that_is_nearly_a_known_one(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        'schema = 1\n[[price]]\nname = "house"\nprovider = "opnai"\nmatch = { equals = "house" }\ninput_mtok = "1"\noutput_mtok = "1"\n'
        '[[discount]]\nprovider = [\n  "openai",\n  "antropic",\n]\nfactor = "0.8"\n[[discount]]\nprovider = "qqqqqqqqqq"\nfactor = "0.5"\n'
    )
    result = run("check", str(file))
    asked = [
        f'{file}:4: no known provider is called "opnai"; did you mean "openai"?',
        f'{file}:9: no known provider is called "antropic"; did you mean "anthropic"?',
    ]
    assert (result.exit_code, result.stderr.splitlines()) == (0, [f"tollkeeper: {line}" for line in asked])
    assert "fine" in result.stdout
    assert json.loads(run("check", str(file), "--json").stdout)["warnings"] == asked


def test_unpriced_without_a_ledger_says_what_to_do() -> None:
    error = run("unpriced").exception
    assert isinstance(error, SetupError)
    assert "there is no ledger yet" in str(error)


def test_unpriced_lists_what_a_ledger_holds_without_a_price(
    book: PriceBook, make_call: MakeCall, make_reading: MakeReading
) -> None:
    home().make()
    call = make_call("nvidia", "nemotron-9")
    reading = make_reading(Usage(input_tokens=1_000, output_tokens=10))
    ledger = Ledger.open(home().ledger, lambda: call.started_at)
    ledger.settle_now(Settlement(call=call, reading=reading, bill=book.bill(call, reading), ended_at=call.started_at))
    ledger.close_now()
    plain = run("unpriced")
    assert plain.stdout.startswith("nvidia\tnemotron-9\tinput_tokens, output_tokens\t1\t≤ $0.0")
    assert "tollkeeper ledger reprice" in plain.stderr
    (row,) = json.loads(run("unpriced", "--json").stdout)
    assert row["exposure_nanousd"] == 1_000 * 25_000 + 10 * 125_000
    assert row["exposure_usd"] == "0.026250000"
