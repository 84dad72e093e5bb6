"""``tollkeeper budget``, ``grant`` and the parts of ``policy`` that read the ledger."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger.samples import HOUR, USD, ask_for, make_call, settled
from tollkeeper.cli.main import cli
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.verify import verify

POLICY = """
mode = "enforce"
[budget.all]
amount = "100 USD"
window = "lifetime"
[budget.person]
amount = "5 USD"
window = "lifetime"
share = "each"
per = "principal"
[budget.tokens]
amount = "2M tokens"
window = "lifetime"
[model.a]
deny = "*opus*"
max_parallel = 4
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ada spent $4.00 and Bob $1.00 in ten calls over the last five hours."""
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path))
    (tmp_path / "policy.toml").write_text(POLICY, "utf-8")
    ledger, now = Ledger.open(tmp_path / "ledger.db", system_clock), system_clock()
    for number in range(10):
        call = make_call(
            now - (10 - number) * HOUR // 2, subject="ada" if number % 2 else "bob", project="web", session=f"s{number % 3}"
        )
        ledger.admit_now(ask_for(call, USD))
        ledger.settle_now(settled(call, USD * 8 // 10 if number % 2 else USD // 5))
    ledger.close_now()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_every_share_is_listed_with_what_is_spent_and_left(home: Path) -> None:
    lines = run("budget", "list").stdout.splitlines()
    assert lines[0] == "budget.person (lifetime;principal=ada): $4.00 of $5.00 spent, $1.00 left"
    assert "budget.all (lifetime): $5.00 of $100.00 spent, $95.00 left" in lines
    assert "budget.tokens (tokens:lifetime): 1,200 of 2,000,000 tokens used, 1,998,800 tokens left" in lines
    said = json.loads(run("budget", "list", "--as", "bob", "--budget", "person", "--json").stdout)["budgets"]
    assert [(one["rule"], one["spent"], one["left"]) for one in said] == [("budget.person", USD, 4 * USD)]


@pytest.mark.parametrize(
    ("amount", "options", "code"), [("5 USD", (), 0), ("5 USD", ("--warn",), 4), ("4 USD", (), 1), ("4 USD", ("--as", "bob"), 0)]
)
def test_a_check_tells_by_its_exit_code(home: Path, amount: str, options: tuple[str, ...], code: int) -> None:
    (home / "policy.toml").write_text(POLICY.replace("5 USD", amount), "utf-8")
    result = run("budget", "check", "--budget", "person", *options)
    assert result.exit_code == code, result.output
    assert json.loads(run("budget", "check", "--budget", "person", "--json", *options).stdout)["ok"] is (code == 0)


def test_a_forecast_says_when_a_budget_crosses_its_amount(home: Path) -> None:
    (home / "policy.toml").write_text(
        '[budget.year]\namount = "5 USD"\nwindow = "year"\n[budget.big]\namount = "9000 USD"\nwindow = "quarter"\n'
    )
    result = run("budget", "forecast")
    assert result.exit_code == 1, result.output
    assert "budget.year (year@UTC)" in result.stdout
    assert run("budget", "forecast", "--budget", "big").exit_code == 0


def test_a_budget_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(TollkeeperError, match='no budget "persn"'):
        run("budget", "list", "--budget", "persn")


def test_a_grant_is_given_listed_used_and_taken_back(home: Path) -> None:
    given = run("grant", "5usd", "--to", "ada", "--budget", "person", "--for", "2h", "--why", "release night")
    assert given.stdout.startswith("granted: ")
    assert "$4.00 of $10.00 spent ($5.00 of it granted), $6.00 left" in run("budget", "list").stdout
    (held,) = json.loads(run("grant", "list", "--json").stdout)
    assert (held["to"], held["amount"], held["why"]) == ("ada", 5 * USD, "release night")
    assert "taken back" in run("grant", "revoke", held["id"][-8:]).stdout
    assert "$4.00 of $5.00 spent" in run("budget", "list").stdout
    assert verify(home / "ledger.db").is_sound


IDENTITY = """
[issuer.okta]
kind = "oidc"
issuer = "https://okta.example.com"
audience = "x"
[issuer.partner]
kind = "oidc"
issuer = "https://partner.example.net"
audience = "x"
"""


def test_a_grant_is_for_the_one_of_that_name_at_one_issuer(home: Path) -> None:
    (home / "identity.toml").write_text(IDENTITY)
    ledger = Ledger.open(home / "ledger.db", system_clock)
    for issuer in ("https://okta.example.com", "https://partner.example.net"):
        call = make_call(system_clock(), subject="ada")
        call = replace(call, principal=replace(call.principal, issuer=issuer))
        ledger.admit_now(ask_for(call, USD))
        ledger.settle_now(settled(call, USD))
    ledger.close_now()

    def granted() -> dict[str, int]:
        found = json.loads(run("budget", "list", "--as", "ada", "--json").stdout)["budgets"]
        return {one["bucket"]: one["granted"] for one in found if one["rule"] == "budget.person"}

    with pytest.raises(TollkeeperError, match="only unique at its issuer: add --issuer, one of okta, partner, local"):
        run("grant", "5usd", "--to", "ada", "--budget", "person", "--why", "x")
    with pytest.raises(TollkeeperError, match=r"no issuer of identity\.toml"):
        run("grant", "5usd", "--to", "ada", "--issuer", "otka", "--budget", "person", "--why", "x")
    with pytest.raises(TollkeeperError, match="whose --to it is"):
        run("grant", "5usd", "--issuer", "okta", "--budget", "person", "--why", "x")
    given = run("grant", "5usd", "--to", "ada", "--issuer", "okta", "--budget", "person", "--why", "x")
    assert "to ada at https://okta.example.com until" in given.stdout
    hers, others = {key for key in granted() if "okta" in key}, {key for key in granted() if "okta" not in key}
    assert (len(hers), len(others)) == (1, 2)
    assert [granted()[key] for key in sorted(hers | others, key=lambda key: key not in hers)] == [5 * USD, 0, 0]
    run("grant", "3usd", "--to", "ada", "--issuer", "local", "--budget", "person", "--why", "x")
    assert granted()["lifetime;principal=ada"] == 3 * USD
    (home / "identity.toml").write_text(IDENTITY.partition("[issuer.partner]")[0])
    assert "to ada at https://okta.example.com" in run("grant", "1usd", "--to", "ada", "--budget", "person", "--why", "x").stdout
    assert verify(home / "ledger.db").is_sound


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("5usd", "--budget", "persn", "--why", "x"), 'did you mean "person"?'),
        (("5k tokens", "--budget", "person", "--why", "x"), "grant it in usd, not tokens"),
        (("5usd", "--budget", "person", "--why", " "), "--why is empty"),
        (("5usd", "--budget", "person", "--why", "x", "--for", "soon"), "is not a length of time"),
        (("five", "--budget", "person", "--why", "x"), '"five" is not an amount'),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused_with_what_to_write(home: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(TollkeeperError) as caught:
        run("grant", *arguments)
    assert said in str(caught.value)


def test_a_call_is_explained_rule_by_rule_with_balances_and_the_decision(home: Path) -> None:
    text = run("policy", "explain", "--as", "ada", "--model", "gpt-5-mini").stdout
    assert "+ budget.person: covers it\n    lifetime;principal=ada: $4.00 of $5.00 spent, $1.00 left" in text
    assert "decision: allow" in text
    said = json.loads(run("policy", "explain", "--as", "ada", "--model", "claude-opus-4-5", "--json").stdout)
    assert (said["decision"]["verdict"], said["decision"]["rule"]) == ("refuse", "model.a")
    assert {one["rule"] for one in said["rules"] if one["covers"]} == {"budget.all", "budget.person", "budget.tokens", "model.a"}


def test_a_draft_is_tried_on_the_past_by_the_code_that_enforces(home: Path) -> None:
    draft = home / "draft.toml"
    draft.write_text(
        'hold = "worst"\n[budget.person]\namount = "2 USD"\nwindow = "lifetime"\nshare = "each"\nper = "principal"\n', "utf-8"
    )
    said = json.loads(run("policy", "test", str(draft), "--since", "2d", "--json").stdout)
    assert (said["total"]["calls"], said["total"]["spent_nanousd"]) == (10, 5 * USD)
    ada, bob = said["by_principal"]["ada"], said["by_principal"]["bob"]
    assert (ada["refused"], ada["would_spend_nanousd"]) == (3, 1_600_000_000)
    assert (bob["refused"], bob["saved_usd"]) == (0, "0.000000000")
    assert said["by_rule"]["budget.person"]["refused"] == 3
    assert "3 refused" in run("policy", "test", str(draft), "--since", "2d").stdout
    assert verify(home / "ledger.db").entries == 20, "nothing was written"


def test_a_suggestion_refuses_nobody_of_the_past(home: Path) -> None:
    draft = home / "draft.toml"
    draft.write_text(run("policy", "suggest").stdout, "utf-8")
    assert run("policy", "check", str(draft)).exit_code == 0
    said = json.loads(run("policy", "test", str(draft), "--since", "2d", "--json").stdout)
    assert said["total"]["refused"] == 0


def test_a_difference_has_an_exit_code(home: Path) -> None:
    draft = home / "draft.toml"
    draft.write_text(POLICY.replace("5 USD", "6 USD"), "utf-8")
    result = run("policy", "diff", str(home / "policy.toml"), str(draft))
    assert (result.exit_code, result.stdout) == (1, "budget.person amount: $5.00 -> $6.00\n")
    assert run("policy", "diff", str(draft), str(draft)).exit_code == 0
