"""``tollkeeper budget``, ``grant`` and the parts of ``policy`` that read the ledger."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger.samples import HOUR, NOW, USD, ask_for, make_call, settled
from tollkeeper.cli.main import cli
from tollkeeper.core.clock import system_clock
from tollkeeper.core.errors import TollkeeperError
from tollkeeper.core.principal import Principal
from tollkeeper.identity.local import LoginNote, local_principal
from tollkeeper.ledger.history import read_answers
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.ledger.process import this_process
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


@pytest.fixture(autouse=True)
def late_november(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 2026-11-22 10:00 UTC, and time goes on: no window has just begun, nor ends during a test."""
    ahead_ns, real_ns, real_s = NOW * 1_000 - time.time_ns(), time.time_ns, time.time
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + ahead_ns)
    monkeypatch.setattr(time, "time", lambda: real_s() + ahead_ns / 1e9)


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


def test_budgets_that_nobody_has_used_are_listed_at_nothing(home: Path) -> None:
    """Pools, and the caller's own share; not the shares of others, nor an amount that another one for the same share exceeds."""
    me = local_principal().subject
    (home / "policy.toml").write_text(
        POLICY.replace("[model.a]", '[budget.opus]\namount = "0 USD"\nwindow = "month"\nmodel = "*opus*"\n[model.a]')
        + f'[budget.less]\namount = "1 USD"\nwindow = "lifetime"\n[budget.mine]\namount = "9 USD"\nwindow = "lifetime"\n'
        f'principal = "{me}"\n[groups]\nx = ["{me}"]\n'
    )

    def listed() -> dict[str, int]:
        return {
            f"{one['rule']} {one['bucket']}": one["spent"]
            for one in json.loads(run("budget", "list", "--json").stdout)["budgets"]
        }

    unused = {f"budget.mine lifetime;principal={me}": 0, "budget.opus month@UTC;model:*opus*": 0}
    assert unused.items() <= listed().items()
    assert "budget.person lifetime;principal=ada" in listed()
    assert not [name for name in listed() if name.startswith("budget.less")]
    last = [line.split()[0] for line in run("budget", "list").stdout.splitlines()[-2:]]
    assert sorted(last) == ["budget.mine", "budget.opus"], "what is used comes first"
    assert "mine" not in run("budget", "list", "--as", "ada").stdout
    (home / "ledger.db").unlink()
    assert listed() == {**unused, "budget.all lifetime": 0, "budget.tokens tokens:lifetime": 0}


def test_before_the_first_call_nothing_is_spent_and_no_budget_is_used_up(home: Path) -> None:
    """As in a CI job's first run; a budget of nothing stops what asks for it, not everything."""
    (home / "policy.toml").write_text(POLICY + '[budget.opus]\namount = "0 USD"\nwindow = "month"\nmodel = "*opus*"\n')
    (home / "ledger.db").unlink()
    assert run("budget", "check").exit_code == 0
    assert run("budget", "check", "--budget", "all").exit_code == 0
    assert run("budget", "check", "--budget", "opus").exit_code == 1
    assert run("budget", "forecast").exit_code == 0
    assert not (home / "ledger.db").exists()
    with pytest.raises(TollkeeperError, match="there is no ledger at"):
        run("budget", "check", "--ledger", str(home / "elsewhere.db"))


@pytest.mark.parametrize(
    ("amount", "options", "code"), [("5 USD", (), 0), ("5 USD", ("--warn",), 4), ("4 USD", (), 1), ("4 USD", ("--as", "bob"), 0)]
)
def test_a_check_tells_by_its_exit_code(home: Path, amount: str, options: tuple[str, ...], code: int) -> None:
    (home / "policy.toml").write_text(POLICY.replace("5 USD", amount), "utf-8")
    result = run("budget", "check", "--budget", "person", *options)
    assert result.exit_code == code, result.output
    assert json.loads(run("budget", "check", "--budget", "person", "--json", *options).stdout)["ok"] is (code == 0)


def test_a_budget_whose_room_is_held_for_calls_under_way_has_none(home: Path) -> None:
    """What is held counts for enforcement: the next call would be refused."""
    ledger = Ledger.open(home / "ledger.db", system_clock)
    ledger.admit_now(ask_for(make_call(system_clock(), subject="ada", project="web"), USD))
    try:
        said = json.loads(run("budget", "list", "--as", "ada", "--budget", "person", "--json").stdout)["budgets"]
        assert (said[0]["spent"], said[0]["held"], said[0]["left"]) == (4 * USD, USD, 0)
        result = run("budget", "check", "--budget", "person")
        assert result.exit_code == 1, result.output
        assert "budget.person (lifetime;principal=ada) is used up: $4.00 of $5.00 spent, $1.00 held" in result.stdout
        assert run("budget", "check", "--budget", "person", "--as", "bob").exit_code == 0
    finally:
        ledger.close_now()


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


def test_a_grant_that_changes_nothing_says_which_budget_decides(home: Path) -> None:
    """An engineer's own amount is the higher one for the share of each person, so a grant on the lower moves nothing."""
    (home / "policy.toml").write_text(
        POLICY
        + '[budget.engineers]\namount = "8 USD"\nwindow = "lifetime"\nshare = "each"\nper = "principal"\ngroup = "eng"\n'
        + '[budget.free]\namount = "unlimited"\nwindow = "lifetime"\nprincipal = "eve"\n[groups]\neng = ["ada"]\n'
    )

    def noted(*arguments: str) -> str:
        result = run("grant", "5usd", *arguments, "--why", "x")
        assert result.stdout.startswith("granted: ")
        return result.stderr

    assert 'note: budget "person" decides nothing here: "engineers" gives' in noted("--to", "ada", "--budget", "person")
    assert '"free" gives the same share more, or lifts it' in noted("--to", "eve", "--budget", "person")
    assert noted("--to", "ada", "--budget", "engineers") == ""
    assert noted("--to", "bob", "--budget", "person") == ""
    assert noted("--budget", "person") == "", "for some of everybody it decides"
    assert noted("--budget", "all") == ""
    said = json.loads(run("grant", "5usd", "--to", "ada", "--budget", "person", "--why", "x", "--json").stdout)
    assert said["decided_by"] == ["engineers"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("9999999999usd", "--budget", "person", "--why", "x"), "is more than can be granted"),
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


def test_what_is_explained_is_the_share_of_whom_calls_are_booked_to(home: Path) -> None:
    """Whoever logged in last, at the issuer that vouched for them: the OS user's share is another's."""
    (home / "identity.toml").write_text(IDENTITY + '[static_groups]\nada = ["lab"]\n')
    policy = POLICY + '[budget.ml]\namount = "5 USD"\nwindow = "lifetime"\ngroup = "ml"\nshare = "pool"\n'
    (home / "policy.toml").write_text(policy)
    ada = Principal(subject="ada", issuer="https://okta.example.com", groups=frozenset({"ml"}))
    LoginNote(home / "identity" / "login.json").write(ada, system_clock() // 1_000_000 + 3_600)
    ledger = Ledger.open(home / "ledger.db", system_clock)
    made = replace(make_call(system_clock()), principal=ada)
    ledger.admit_now(ask_for(made, USD))
    ledger.settle_now(settled(made, 2 * USD))
    ledger.close_now()
    hers = "+ budget.person: covers it\n    lifetime;principal=ada;issuer=https%3A//okta.example.com: $2.00 of $5.00 spent"
    text = run("policy", "explain", "--model", "gpt-5-mini").stdout
    assert hers in text
    assert "+ budget.ml: covers it" in text
    for issuer in ("okta", "https://okta.example.com"):
        assert hers in run("policy", "explain", "--as", "ada", "--issuer", issuer).stdout
    assert "    lifetime;principal=ada: " in run("policy", "explain", "--as", "ada", "--issuer", "local").stdout
    assert "- budget.ml" in run("policy", "explain", "--as", "ada", "--issuer", "partner").stdout, "another Ada, in no group"
    with pytest.raises(TollkeeperError, match="add --issuer, one of okta, partner, local"):
        run("policy", "explain", "--as", "bob")
    with pytest.raises(TollkeeperError, match=r"no issuer of identity\.toml"):
        run("policy", "explain", "--as", "bob", "--issuer", "otka")


@pytest.mark.parametrize("word", ["verified", "local-login", "VERIFIED", "LOCAL_LOGIN"])
def test_an_assurance_is_named_as_in_a_policy_or_as_in_code(home: Path, word: str) -> None:
    (home / "policy.toml").write_text('[budget.a]\namount = "1 USD"\nwindow = "day"\nassurance = "verified"\nshare = "pool"\n')
    result = run("policy", "explain", "--as", "ada", "--assurance", word)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "+" if word.lower() == "verified" else "- budget.a: does not cover it: its assurance is local"
    )


def test_where_a_call_comes_from_can_be_said(home: Path) -> None:
    fields = {"os_user": "ci", "process": "make", "container": "4f2a"}
    (home / "policy.toml").write_text(
        "".join(f'[budget.{name}]\namount = "1 USD"\nwindow = "day"\n{name} = "{value}"\n' for name, value in fields.items())
    )
    said = run("policy", "explain", "--os-user", "ci", "--process", "make", "--container", "4f2a").stdout
    assert [line[:9] for line in said.splitlines() if "covers it" in line] == ["+ budget."] * 3
    (home / "policy.toml").write_text(f'[budget.u]\namount = "1 USD"\nwindow = "day"\nos_user = "{local_principal().subject}"\n')
    assert run("policy", "explain").stdout.startswith("+ budget.u")


def test_a_running_proxy_is_explained_with_what_it_has_learned(home: Path) -> None:
    """It caps an answer at what such answers take; one that has just started would refuse, since it must expect 4,096 tokens."""
    (home / "policy.toml").write_text('mode = "enforce"\n[budget.day]\namount = "5.01 USD"\nwindow = "lifetime"\n')
    asked = ("policy", "explain", "--as", "ada", "--model", "gpt-5", "--max-output-tokens", "8000", "--input-tokens", "40")
    assert "decision: refuse" in run(*asked).stdout
    ledger = Ledger.open(home / "ledger.db", system_clock)
    started_at = ledger.do(lambda journal: journal.at)
    for _ in range(12):
        made = make_call(system_clock(), subject="ada")
        ledger.admit_now(ask_for(made, USD))
        ledger.settle_now(settled(made, 0))
    ledger.close_now()
    state = {"pid": os.getpid(), "host": "127.0.0.1", "port": 9, "started_at": started_at, "process": this_process()}
    (home / "proxy.json").write_text(json.dumps(state))
    assert "the answer has 256 tokens at most" in run(*asked).stdout
    (home / "proxy.json").write_text(json.dumps({**state, "started_at": system_clock() + HOUR}))
    assert "decision: refuse" in run(*asked).stdout


def test_an_answer_that_filled_its_cap_is_remembered_as_twice_that(home: Path) -> None:
    """As a running proxy learns it: nobody knows how much more it wanted."""
    ledger = Ledger.open(home / "ledger.db", system_clock)
    since = ledger.do(lambda journal: journal.at)
    for cap in (20, 21):  # the answer has 20 tokens
        made = make_call(system_clock(), subject="ada")
        admission = ask_for(made, USD)
        capped = replace(admission.candidates[0], clamp_output_tokens=cap)
        ledger.admit_now(replace(admission, candidates=(capped,)))
        ledger.settle_now(settled(made, 0))
    ledger.close_now()
    assert [output for _, _, _, output in read_answers(home / "ledger.db", since)][-2:] == [40, 20]


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
