"""Who may ask what: scopes of every kind, several amounts for one share, and the model rules. Order never matters."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from policy.samples import USD, at, call, policy, quote
from tollkeeper.core.admission import Admission, Limit
from tollkeeper.core.amounts import Unit
from tollkeeper.core.call import Call
from tollkeeper.core.decision import Decision, Verdict
from tollkeeper.core.errors import ConfigError
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.policy.plan import plan

NOW = at("2026-11-22T10:00")
ENFORCE = 'mode = "enforce"\n'


def caller(
    *, groups: tuple[str, ...] = (), assurance: Assurance = Assurance.VERIFIED, issuer: str = "okta", model: str | None = "claude-opus-5",
    **where: Any,
) -> Call:  # fmt: skip
    asked = call(model)
    who = Principal(subject="ada", issuer=issuer, assurance=assurance, groups=frozenset(groups))
    return replace(asked, principal=who, attribution=replace(asked.attribution, **where))


def limits(text: str, asked: Call) -> tuple[Limit, ...]:
    found = plan(policy(ENFORCE + text), asked, quote, NOW)
    assert isinstance(found, Admission), found
    return found.candidates[0].limits


def refused(text: str, asked: Call) -> Decision:
    found = plan(policy(ENFORCE + text), asked, quote, NOW)
    assert isinstance(found, Decision), found
    assert found.verdict is Verdict.REFUSE
    return found


def budget(name: str, amount: str, extra: str = "", window: str = "month") -> str:
    return f'[budget.{name}]\namount = "{amount}"\nwindow = "{window}"\n{extra}\n'


EACH = 'share = "each"\nper = "principal"\n'


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ('group = "ml"\nshare = "pool"', True),
        ('group = ["x*", "m*"]\nshare = "pool"', True),
        ('group = "interns"\nshare = "pool"', False),
        ('issuer = "okta"\nshare = "pool"', True),
        ('assurance = "claimed"\nshare = "pool"', False),
        ('operation = "chat"', True),
        ('operation = "embeddings"', False),
        ('branch = "release/*"', True),
        ('tool = "claude-code"', True),
        ('tool = "codex"', False),
        ('session = "s1"', True),
        ('run = "77"', True),
        ('agent_class = "subagent"', True),
        ('process = "claude"\nos_user = "ada"', True),
        ('process = "codex"', False),
        ('container = "0f0f"', True),
        ("when = 'os_user == \"ada\" && process == \"claude\"'\nshare = \"pool\"", True),
        ('label = { team = "bill*" }\nshare = "pool"', True),
        ('label = { team = "search" }\nshare = "pool"', False),
        ('label = { nope = "x" }\nshare = "pool"', False),
        ('header = { X-Cost-Center = "42" }\nshare = "pool"', True),
        ("when = '\"ml\" in groups && model.startsWith(\"claude\")'\nshare = \"pool\"", True),
        ("when = 'branch == \"main\"'\nshare = \"pool\"", False),
        ("when = 'labels[\"nope\"] == \"x\"'\nshare = \"pool\"", True),
        ('group = "ml"\ntool = "codex"\nshare = "pool"', False),
    ],
)  # fmt: skip
def test_a_budget_covers_what_its_whole_scope_says(scope: str, covered: bool) -> None:
    asked = caller(
        groups=("ml", "staff"), branch="release/9", client="claude-code", session="s1", run="77", agent_class="subagent",
        os_user="ada", process="claude", container="0f0f",
        tags=(("header:x-cost-center", "42"), ("team", "billing")),
    )  # fmt: skip
    assert bool(limits(budget("b", "1 USD", scope), asked)) is covered


def test_headers_that_rules_go_by_are_told_to_whoever_reads_calls() -> None:
    assert policy(budget("b", "1 USD", 'header = { X-Team = "a" }\nshare = "pool"')).headers == {"x-team"}


@pytest.mark.parametrize(
    "condition",
    [
        "has(labels.team) && labels.team == 'x'",
        "size(groups) > 0 && groups[0] == 'ml'",
        "project == 'eleven' && int(run) > 5",
        "groups.exists(g, g.startsWith('ml')) || groups.all(each, each != 'x')",
        "model == 'a && (b' ? project == \"it's\" : !(model == 'c' || '==' == run)",
        "type(model) == string && {'a': model}.a == 'x'",
        "labels['n'] == 'x' || size(model) == 3",
    ],
)
def test_a_condition_that_may_fail_for_some_calls_only_is_taken(condition: str) -> None:
    assert policy(f'[budget.b]\namount = "1 USD"\nwindow = "day"\nshare = "pool"\nwhen = """{condition}"""\n').budgets[0].when


def test_a_budget_may_be_divided_by_a_header_however_it_is_spelt() -> None:
    divided = budget("b", "1 USD", 'share = "each"\nper = "label.header:X-Team"')
    assert policy(divided).headers == {"x-team"}
    assert [limit.bucket.key for limit in limits(divided, caller(tags=(("header:x-team", "ml"),)))] == [
        "month@UTC;label.header%3Ax-team=ml"
    ]


def test_a_document_may_go_by_sixteen_headers_and_no_more() -> None:
    rules = [budget(f"b{number}", "1 USD", f'share = "pool"\nheader = {{ x-{number} = "a" }}') for number in range(17)]
    assert len(policy("".join(rules[:16])).headers) == 16
    with pytest.raises(ConfigError, match="rules go by 17 request headers; 16 is the most"):
        policy("".join(rules))


def test_of_several_amounts_for_one_share_the_highest_wins_in_any_order() -> None:
    texts = [
        budget("person", "100 USD", EACH),
        budget("engineers", "500 USD", EACH + 'group = "engineers"'),
        budget("interns", "200 USD", EACH + 'group = "interns"'),
    ]
    for order in permutations(texts):
        assert [limit.amount_nanousd // USD for limit in limits("".join(order), caller(groups=("engineers", "interns")))] == [500]
        assert [limit.amount_nanousd // USD for limit in limits("".join(order), caller(groups=("interns",)))] == [200]
        assert [limit.amount_nanousd // USD for limit in limits("".join(order), caller())] == [100]


def test_unlimited_lifts_the_other_amounts_of_the_same_share_only() -> None:
    text = (
        budget("person", "100 USD", EACH)
        + budget("cto", "unlimited", 'principal = "ada"')
        + budget("team", "9 USD", 'share = "pool"')
    )
    assert [limit.budget for limit in limits(text, caller())] == ["team"]


def test_two_issuers_that_name_the_same_subject_share_no_bucket_and_the_machine_itself_is_written_plain() -> None:
    text = budget("person", "100 USD", EACH)
    keys = {issuer: [limit.bucket.key for limit in limits(text, caller(issuer=issuer))] for issuer in ("local", "okta", "access")}
    assert keys["local"][0].endswith("principal=ada")
    assert len({key for found in keys.values() for key in found}) == 3
    scopes = [limit.bucket.scope for limit in limits(text, caller(issuer="okta"))]
    assert all(("issuer", "okta") in scope for scope in scopes)


def test_a_watching_amount_never_raises_one_that_acts() -> None:
    text = budget("person", "100 USD", EACH) + budget("draft", "900 USD", EACH + 'mode = "observe"')
    found = limits(text, caller())
    assert sorted((limit.amount_nanousd // USD, limit.enforced) for limit in found) == [(100, True), (900, False)]


def test_a_group_that_is_not_known_never_widens_access() -> None:
    text = budget("person", "1 USD", EACH) + budget("ml", "900 USD", EACH + 'group = "ml"')
    assert [limit.amount_nanousd for limit in limits(text, caller())] == [USD]


def test_a_budget_for_sure_identities_is_not_given_to_claimed_ones() -> None:
    sure = budget("person", "100 USD", EACH + 'min_assurance = "static"')
    assert len(limits(sure, caller(assurance=Assurance.VERIFIED))) == 1
    weak = refused(sure, caller(assurance=Assurance.CLAIMED))
    assert (weak.rule, weak.reason) == ("budget.person", 'budget "person" is for static identities')
    both = sure + budget("anyone", "1 USD", EACH)
    assert [limit.amount_nanousd for limit in limits(both, caller(assurance=Assurance.CLAIMED))] == [USD]


def test_a_budget_for_each_group_counts_in_every_group_of_the_caller() -> None:
    text = budget("team", "9 USD", 'share = "each"\nper = "group"\ngroup = "team-*"')
    keys = [limit.bucket.key for limit in limits(text, caller(groups=("team-a", "team-b", "staff")))]
    assert keys == ["month@UTC;group=team-a", "month@UTC;group=team-b"]


def test_a_session_has_a_budget_of_its_own_and_a_claimed_one_never_meets_ours() -> None:
    text = budget("s", "3 USD", window="session")
    ours, theirs = limits(text, caller(session="x")), limits(text, caller(client_session="x"))
    assert (ours[0].bucket.key, theirs[0].bucket.key) == ("session;session=x", "session;session=client%3Ax")
    assert (ours[0].bucket.start_at, ours[0].resets_at) == (0, None)


def test_a_label_divides_a_budget() -> None:
    text = budget("team", "3 USD", 'share = "each"\nper = "label.team"')
    assert limits(text, caller(tags=(("team", "a"),)))[0].bucket.key == "month@UTC;label.team=a"


def test_tokens_and_requests_have_buckets_of_their_own() -> None:
    found = limits(budget("t", "2M tokens") + budget("r", "10 requests") + budget("d", "1 USD"), caller())
    assert [(limit.unit, limit.amount_nanousd, limit.bucket.key) for limit in found] == [
        (Unit.TOKENS, 2_000_000, "tokens:month@UTC"),
        (Unit.REQUESTS, 10, "requests:month@UTC"),
        (Unit.USD, USD, "month@UTC"),
    ]


# -- model rules ---------------------------------------------------------------------------------------------------


def test_any_rule_that_denies_wins_in_any_order() -> None:
    texts = ['[model.a]\nallow = "claude*"\n', '[model.b]\ndeny = "*opus*"\n']
    for order in permutations(texts):
        assert refused("".join(order), caller()).rule == "model.b"
        assert limits("".join(order), caller(model="claude-haiku-4-5")) == ()


def test_every_list_of_what_is_allowed_must_hold_the_model() -> None:
    text = '[model.a]\nallow = "claude*"\n[model.interns]\ngroup = "interns"\nallow = "*haiku*"\n'
    assert limits(text, caller()) == ()
    assert refused(text, caller(groups=("interns",))).rule == "model.interns"


def test_an_exception_frees_only_those_it_surely_speaks_of() -> None:
    text = '[model.a]\ndeny = "*opus*"\nexcept = [{ group = "ml" }, { when = \'labels["ok"] == "yes"\' }]\n'
    assert limits(text, caller(groups=("ml",))) == ()
    assert limits(text, caller(tags=(("ok", "yes"),))) == ()
    assert refused(text, caller()).rule == "model.a"


def test_a_call_that_names_no_model_is_on_no_list() -> None:
    for text in ('[model.a]\nallow = "*haiku*"', '[model.a]\ndeny = "*opus*"'):
        assert "a model that is not named" in refused(text, caller(model=None)).reason


def test_a_rule_that_cannot_be_decided_still_denies() -> None:
    assert refused('[model.a]\nwhen = \'labels["x"] == "y"\'\ndeny = "*"', caller()).rule == "model.a"


def test_a_watching_rule_lets_through_and_says_what_it_would_have_done() -> None:
    found = plan(policy(ENFORCE + '[model.a]\ndeny = "*opus*"\nmode = "observe"'), caller(), quote, NOW)
    assert isinstance(found, Admission)
    assert found.objection is not None
    assert (found.objection.verdict, found.objection.would, found.objection.rule) == (Verdict.ALLOW, Verdict.REFUSE, "model.a")


def test_a_model_to_move_to_must_itself_be_allowed() -> None:
    text = (
        budget("day", "1 USD", 'on_exceed = { downgrade = ["claude-sonnet-5", "claude-haiku-4-5"] }')
        + '[model.a]\ndeny = "*sonnet*"\n'
    )
    found = plan(policy(ENFORCE + text), caller(), quote, NOW)
    assert isinstance(found, Admission)
    assert [candidate.model for candidate in found.candidates] == ["claude-opus-5", "claude-haiku-4-5"]


def test_rates_are_counted_for_each_principal_unless_said_otherwise() -> None:
    found = limits("[model.a]\nmax_parallel = 4\nmax_per_minute = 60\n", caller())
    assert [(limit.unit, limit.bucket.key, limit.rule) for limit in found] == [
        (Unit.PARALLEL, "parallel:lifetime;principal=ada;issuer=okta", "model.a"),
        (Unit.REQUESTS, "requests:rolling-60s;principal=ada;issuer=okta", "model.a"),
    ]
    pooled = limits('[model.a]\nmax_parallel = 4\nshare = "pool"\n', caller())
    assert [limit.bucket.key for limit in pooled] == ["parallel:lifetime"]


def test_plan_traffic_obeys_model_rules_and_rates_but_no_budget_in_dollars() -> None:
    asked = replace(caller(), plan="claude")
    assert refused('[model.a]\ndeny = "*opus*"', asked).rule == "model.a"
    text = budget("d", "1 USD") + budget("t", "5M tokens") + "[model.a]\nmax_parallel = 2\n"
    assert [limit.unit for limit in limits(text, asked)] == [Unit.TOKENS, Unit.PARALLEL]


def test_nobody_is_refused_only_where_the_policy_says_so() -> None:
    nobody = caller(assurance=Assurance.NONE)
    assert limits("", nobody) == ()
    assert refused('on_no_identity = "closed"', nobody).rule == "on_no_identity"
    assert plan(policy(ENFORCE + 'on_no_identity = "closed"'), caller(), quote, NOW).__class__ is Admission


MISTAKES = [
    ('[model.a]\nallow = "x"\nallw = "y"', '3: unknown key "allw" in [model.a]; did you mean "allow"?'),
    ('[model.a]\ngroup = "x"', "1: [model.a] restricts nothing; give it one of allow, deny,"),
    ('[model.a]\nmax_parallel = 0', "2: max_parallel = 0 is not a whole number from 1 to 1,000,000,000"),
    ('[model.a]\nmax_effort = "hihg"', '2: max_effort = "hihg" is not possible; did you mean "high"?'),
    ('[model.a]\nmax_cost = "5 tokens"', "2: max_cost is in dollars;"),
    ('[model.a]\ndeny = "x"\nexcept = { }', "3: except names who or what is free of the rule,"),
    ('[route.r]\nprovider = "x"', '1: [route.r] leads nowhere; write to = "a-model",'),
    ('[route.r]\nto = [{ model = "a", percent = 60 }, "b"]', "2: the shares in route.r.to add up to more than 100 percent;"),
    ('[route.r]\nto = { model = "a", key = "sk-ant-secret" }', '2: key is not possible; write it like "env:OPENAI_API_KEY"'),
    ('[route.r]\nto = { model = "a", timeout = "soon" }', '2: timeout = "soon" is not a time; write it like "20s" or "500ms"'),
    ('model = "x"', "1: model must be tables with a name each; write [model.interns]"),
    (budget("b", "1 USD", 'group = "ml"'), "4: [budget.b] covers several by group without saying how they share;"),
    (budget("b", "1 USD", "when = 'principal ='"), "4: when is not CEL:"),
    (budget("b", "1 USD", "when = 'user == \"x\"'"), "4: when cannot be run: Undefined variable or function: 'user'."),
    (budget("b", "1 USD", "when = 'user == \"x\"'"),
     "4: when cannot be run: Undefined variable or function: 'user'. Did you mean \"principal\"?"),
    (budget("b", "1 USD", "when = 'mdoel == \"x\"'"),
     "4: when cannot be run: Undefined variable or function: 'mdoel'. Did you mean \"model\"?"),
    (budget("b", "1 USD", "when = 'zzz == \"x\"'"), "4: when cannot be run: Undefined variable or function: 'zzz'. Known: principal,"),
    (budget("b", "1 USD", "when = 'model == \"gpt-5\" && modell == \"x\"'"),
     "4: when cannot be run: Undefined variable or function: 'modell'. Did you mean \"model\"?"),
    (budget("b", "1 USD", "when = 'groups.exists(g, g == \"x\" && team == \"x\")'"),
     "4: when cannot be run: Undefined variable or function: 'team'. Did you mean \"groups\"?"),
    (budget("b", "1 USD", "when = 'model == \"gpt-5\" && (run == \"\" || !groups.contains(\"x\"))'"),
     '4: when cannot be run: groups.contains("x"): Undefined variable or function: \'contains\'.'),
    (budget("b", "1 USD", "when = 'model == \"gpt-5\" ? model.name == \"x\" : true'"),
     '4: when cannot be run: model.name == "x": No such overload'),
    (budget("b", "1 USD", "when = 'model == 1'"), "4: when compares text with a number, which are never equal: model == 1"),
    (budget("b", "1 USD", "when = 'model == \"a && b\" && groups != \"ml\"'"),
     '4: when compares a list with text, which are never equal: groups != "ml"'),
    (budget("b", "1 USD", "when = 'principal'"), "4: when is neither true nor false; write a comparison"),
    (budget("b", "1 USD", 'on_exceed = ["refuse", "clamp"]'), "4: the rungs of on_exceed come once each, in this order:"),
    (budget("b", "1 USD", 'on_exceed = ["refuse", "warn"]'),
     "4: the rungs of on_exceed come once each, in this order: warn, clamp, downgrade, refuse; nothing is tried after \"refuse\""),
    (budget("b", "1 USD", 'on_exceed = ["warn", "warn"]'), "4: the rungs of on_exceed come once each, in this order:"),
    (budget("b", "1 USD", 'on_exceed = ["warn", "clamp", "warn"]'), "4: the rungs of on_exceed come once each, in this order:"),
    (budget("b", "1 USD", 'on_exceed = ["refuse", "refuse"]'), "4: the rungs of on_exceed come once each, in this order:"),
    (budget("b", "1 USD", 'share = "pool"\nheader = { Authorization = "*" }'), '5: the header "Authorization" carries a credential,'),
    (budget("b", "1 USD", 'share = "pool"\nlabel = { "header:X-Api-Key" = "*" }'),
     '5: the header "header:X-Api-Key" carries a credential,'),
    (budget("b", "1 USD", 'share = "each"\nper = "label.header:Cookie"'),
     '5: the header of "label.header:Cookie" carries a credential,'),
    (budget("b", "1 USD", 'share = "pool"\nheader = { x-forwarded-user = "ada" }'),
     '5: the header "x-forwarded-user" says who is calling, and is gone before rules are asked;'),
    (budget("b", "5 requests", 'on_exceed = "clamp"'), "4: an answer can be cut to fit dollars or tokens only; leave out clamp"),
    (budget("b", "1 USD", "rollover = true", window="rolling 7d"), "4: rollover carries over to the next calendar window,"),
    (budget("b", "1 USD", 'rollover = "5 tokens"'), '4: rollover = "5 tokens" is not counted as the amount is; write it in usd'),
    (budget("b", "1 USD", "warn_at = [0, 200]"), "4: warn_at = 0 is not a percentage from 1 to 100"),
    (budget("b", "1 USD", 'min_assurance = "sure"'), '4: min_assurance = "sure" is not possible;'),
    (budget("b", "1.5 tokens"), '2: amount = "1.5 tokens" is not a whole number of tokens'),
    (budget("b", "1 USD", 'label = "x"'), '4: label must name each with its pattern; write label = { team = "ml*" }'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_told_with_its_line_and_what_to_write(text: str, said: str) -> None:
    with pytest.raises(Exception, match="policy") as caught:
        policy(text)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"policy.toml:{said}"), first
    assert "sk-ant-secret" not in str(caught.value)
