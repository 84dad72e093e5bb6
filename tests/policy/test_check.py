"""``tollkeeper policy check``: a document in plain words."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from policy.samples import at, policy
from tollkeeper.cli.policy import command
from tollkeeper.core.resources import data
from tollkeeper.policy.words import explain, notes

NOW = at("2026-11-22T22:47", "Europe/Rome")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["check", *arguments], catch_exceptions=False)


def sentence(text: str) -> str:
    return explain(policy('mode = "enforce"\n[budget.b]\n' + text), NOW)[0].sentence


def test_a_budget_says_who_how_much_until_when_and_what_then() -> None:
    assert sentence('amount = "50 USD"\nwindow = "day"\nzone = "Europe/Rome"') == (
        "$50.00 a day for everybody together; resets Mon 23 Nov 00:00 Europe/Rome (in 1 h 13 min); a call without room is refused"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('share = "each"\nper = "principal"\nprincipal = "interns/*"', "for each principal, only principals interns/*;"),
        ('share = "pool"\nprincipal = ["a*", "b"]\nmodel = "*opus*"', "for a* or b together, only models *opus*;"),
        ('share = "each"\nper = ["project", "model"]', "for each project and model;"),
        ('on_exceed = { rewrite = ["a", "b"] }', "a call without room is moved to a or else b where that fits, else refused"),
        ('mode = "observe"', "only watched: nothing happens, the report says where a call without room is refused"),
    ],
)
def test_scope_share_and_action_are_told(text: str, said: str) -> None:
    assert said in sentence(f'amount = "5 USD"\nwindow = "hour"\n{text}')


def test_a_rolling_budget_says_that_it_has_no_reset() -> None:
    said = sentence('amount = "5 USD"\nwindow = "rolling 7d"')
    assert said.startswith("$5.00 in any 7 d for everybody together; room comes back")


def test_what_may_surprise_is_noted() -> None:
    same = '[budget.a]\namount = "5 USD"\nwindow = "day"\n[budget.b]\namount = "9 USD"\nwindow = "day"\n'
    assert notes(policy(same)) == (
        'nothing is blocked until mode = "enforce"',
        'budgets "a" and "b" count the same calls over the same window: the highest amount wins',
    )
    covering = 'mode = "enforce"\n[budget.a]\namount = "5 USD"\nwindow = "day"\non_exceed = { rewrite = "m" }\n'
    assert [note.partition(":")[0] for note in notes(policy(covering))] == ['budget "a" also covers m']
    assert notes(policy(covering + 'model = "*opus*"')) == ()


def test_a_good_document_is_told_on_stdout_and_exits_0(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('mode = "enforce"\n[budget.day]\namount = "50 USD"\nwindow = "day"\n', "utf-8")
    result = run(str(file))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{file}: OK\nmode enforce: budgets act\n  day  $50.00 a day for everybody together; resets ")
    assert "(on_ledger_error = closed): calls are refused" in result.stdout


def test_a_bad_document_is_told_on_stderr_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('moed = "enforce"\nzone = "Mars"\n', "utf-8")
    result = run(str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [f"{file}:1", f"{file}:2"]


def test_json_says_the_same_for_machines(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[budget.day]\namount = "0.25 USD"\nwindow = "day"\nmodel = "*opus*"\n', "utf-8")
    said = json.loads(run(str(file), "--json").stdout)
    assert (said["ok"], said["mode"], said["notes"]) == (True, "observe", ['nothing is blocked until mode = "enforce"'])
    (budget,) = said["budgets"]
    assert (budget["name"], budget["amount_usd"], budget["scope"]) == ("day", "0.250000000", {"model": ["*opus*"]})
    assert budget["acts"] is False


@pytest.mark.parametrize(("text", "line"), [('\nmoed = "enforce"\n', 2), ("mode =", 1)])
def test_json_tells_mistakes_with_their_lines(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text, "utf-8")
    result = run(str(file), "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["ok"], [problem["line"] for problem in said["problems"]]) == (2, False, [line])


def test_without_a_file_the_home_s_policy_is_checked(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "policy.toml").write_text('mode = "enforce"\n', "utf-8")
    assert "mode enforce" in run().stdout


def test_without_any_policy_it_says_that_everything_is_observed() -> None:
    result = run()
    assert result.exit_code == 0
    assert result.stdout.startswith("built-in: OK\nmode observe")
    assert "There is no policy at" in result.stderr


def test_a_named_file_that_is_missing_is_an_error_and_never_no_policy(tmp_path: Path) -> None:
    result = run(str(tmp_path / "nowhere.toml"))
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_a_misspelt_model_to_move_to_is_noted_since_it_would_never_be_taken(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    text = 'mode = "enforce"\n[budget.b]\namount = "5 USD"\nwindow = "day"\nmodel = "*opus*"\n'
    file.write_text(text + 'on_exceed = { rewrite = ["claude-haikuu-4-5", "claude-haiku-4-5"] }\n', "utf-8")
    (note,) = json.loads(run(str(file), "--json").stdout)["notes"]
    assert note.startswith('no price is known for "claude-haikuu-4-5", so no call is ever moved to it; did you mean "')


def test_prices_that_cannot_be_read_do_not_hide_what_the_policy_means(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "prices.toml").write_text("nonsense", "utf-8")
    file = tmp_path / "policy.toml"
    file.write_text('[budget.b]\namount = "5 USD"\nwindow = "day"\non_exceed = { rewrite = "claude-haiku-4-5" }\n', "utf-8")
    result = run(str(file))
    assert result.exit_code == 0
    assert "whether the models to move to have prices is not checked" in result.stdout


OKTA = 'schema = 1\n[issuer.okta]\nkind = "oidc"\nissuer = "https://login.example.com"\naudience = "tollkeeper"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[model.m]\ndeny = "x"\n[route.r]\nfallback = [{ provider = "bedrok" }]\n',
            'route "r" names the provider "bedrok", and none is called that; did you mean "bedrock"?',
        ),
        (
            '[model.m]\nprovider = "antropic"\ndeny = "x"\n',
            'rule "m" names the provider "antropic", and none is called that; did you mean "anthropic"?',
        ),
        (
            '[route.r]\nprovider = "anthropic"\nto = { provider = "openrouter" }\n[model.m]\nprovider = "anth*"\ndeny = "x"\n',
            None,
        ),
        (
            '[model.m]\nissuer = "okta"\ndeny = "x"\n',
            'rule "m" names the issuer "okta", as identity.toml calls it; calls carry its address: write "https://login.example.com"',
        ),
        (
            '[groups]\nml = ["ada at okta"]\n[model.m]\ndeny = "x"\n',
            'the member "ada" of a group names the issuer "okta", as identity.toml calls it; calls carry its address: '
            'write "https://login.example.com"',
        ),
        ('[groups]\nml = ["ada at https://login.example.com"]\n[model.m]\nissuer = ["local", "https://*"]\ndeny = "x"\n', None),
    ],
)
def test_a_name_that_nothing_answers_to_is_noted_with_the_one_to_write(tmp_path: Path, text: str, said: str | None) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "identity.toml").write_text(OKTA, "utf-8")
    file = tmp_path / "policy.toml"
    file.write_text('mode = "enforce"\n' + text, "utf-8")
    assert json.loads(run(str(file), "--json").stdout)["notes"] == ([] if said is None else [said])


def test_an_alert_is_told_without_its_address_and_one_about_no_budget_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        'mode = "enforce"\n[budget.day]\namount = "5 USD"\nwindow = "day"\n'
        '[alert.team]\nto = "slack"\nurl = "https://hooks.example/S3CRET"\nbudget = ["dya", "d*"]\non = "used-up"\n',
        "utf-8",
    )
    said = run(str(file)).stdout
    assert "  alert team: Slack is told of used-up of dya or d*\n" in said
    assert 'note: alert "team" speaks of the budget "dya", and there is none of that name; did you mean "day"?' in said
    assert "S3CRET" not in said


@pytest.mark.parametrize("name", ["laptop", "team"])
def test_the_ready_policies_move_calls_to_models_that_have_prices(name: str) -> None:
    assert json.loads(run(str(data("policies") / f"{name}.toml"), "--json").stdout)["notes"] == []
