"""The policy document: what it says becomes values, what is wrong with it is told by file, line and nearest name."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.samples import HOUR, USD, policy
from tollkeeper.core.errors import ConfigError
from tollkeeper.policy.document import BUDGET_KEYS, MAX_BUDGETS, MAX_DOCUMENT_BYTES, OBSERVE_ALL, load_policy, parse_policy
from tollkeeper.policy.model import Field, Mode, OnFailure, Share, UnknownModel
from tollkeeper.policy.problems import PolicyError
from tollkeeper.policy.windows import WindowKind

FINE = '[budget.day]\namount = "5 USD"\nwindow = "day"\n'

WRONG = [
    ('mode = "enforc"', '1: mode = "enforc" is not possible; did you mean "enforce"?'),
    ("mode = true", '1: mode = true is not possible; write "observe" or "warn" or "enforce"'),
    ("\n\nmoed = 1", '3: unknown key "moed" at the top level; did you mean "mode"?'),
    ("schema = 2", "1: schema = 2 is not known here; write schema = 1, or update tollkeeper"),
    ("schema = true", "1: schema = true is not known here; write schema = 1, or update tollkeeper"),
    ('zone = "Europe/Roma"', '1: zone = "Europe/Roma" is not a time zone of the IANA database; did you mean "Europe/Rome"?'),
    ('zone = "../etc/passwd"', '1: zone = "../etc/passwd" is not a time zone of the IANA database; write it like "Europe/Rome"'),
    ('zone = "Europe"', '1: zone = "Europe" is not a time zone of the IANA database;'),
    ("zone = 3", '1: zone = 3 is not a time zone; write it like "Europe/Rome"'),
    ('week_starts = "mon"', '1: week_starts = "mon" is not a weekday; did you mean "monday"?'),
    ('on_fault = "shut"', '1: on_fault = "shut" is not possible;'),
    ('unknown_model = "ceil"', '1: unknown_model = "ceil" is not possible; did you mean "ceiling"?'),
    ("egress = 5", '1: egress is a table; write [egress] and others = "refuse" below it'),
    ('[egress]\nothers = "deny"', '2: others = "deny" is not possible;'),
    ('[egress]\nother = "refuse"', '2: unknown key "other" in [egress]; did you mean "others"?'),
    ('[egress]\nallow = ["pypi.org"]', '2: allow lists what passes while others are refused; write others = "refuse" too'),
    ('[egress]\nothers = "refuse"\nallow = ["*"]', "3: allow = '*' is no host: write \"pypi.org\", \"*.example.com\" or"),
    ('[egress]\nothers = "refuse"\nallow = ["*.com"]', "3: allow = '*.com' is no host:"),
    ('[egress]\nothers = "refuse"\nallow = ["a.example:99999"]', "3: allow = 'a.example:99999' is no host:"),
    ('[egress]\nothers = "refuse"\ninternal = [""]', '3: internal = "" is not a host: text of 1 to 262 printable characters'),
    ("[[budget]]", "1: budget must be tables with a name each; write [budget.day]"),
    ('[budget]\namount = "5 USD"', '2: budget."amount" is not a table; every budget has a name, as in [budget.day]'),
    (FINE + 'limt = "5 USD"', '4: unknown key "limt" in [budget.day]; known: amount, window,'),
    (FINE + 'timezone = "UTC"', '4: unknown key "timezone" in [budget.day]; did you mean "zone"?'),
    (FINE + 'principle = "ada"', '4: unknown key "principle" in [budget.day]; did you mean "principal"?'),
    (FINE.replace('"5 USD"', "5"), '2: amount = 5 has no currency; write amount = "5 USD"'),
    (FINE.replace('"5 USD"', '"5 EUR"'), '2: amount = "5 EUR" is not an amount; write it like "5 USD" or "0.25 USD"'),
    (FINE.replace('"5 USD"', '"-5 USD"'), '2: amount = "-5 USD" is not an amount; write it like "5 USD" or "0.25 USD"'),
    (FINE.replace("5 USD", "2000000000 USD"), '2: amount = "2000000000 USD" is over 1,000,000,000 USD'),
    (FINE.replace('"5 USD"', '"1,000 USD"'), '2: amount = "1,000 USD" has no commas: "1000 USD"'),
    (FINE.replace("5 USD", "10000000000000 USD"), '2: amount = "10000000000000 USD" is over 1,000,000,000 USD, the most a budget'),
    (FINE.replace("5 USD", "5 Tokens"), '2: amount = "5 Tokens" is written in small letters: "5 tokens"'),
    (FINE.replace("5 USD", "2,000 Requests"), '2: amount = "2,000 Requests" is not an amount;'),
    (FINE.replace("5 USD", "Unlimited"), '2: amount = "Unlimited" is written in small letters: "unlimited"'),
    (FINE + 'on_exceed = [\n  "warn",\n  { downgrad = "x" },\n]',
     '6: unknown key "downgrad" in on_exceed of [budget.day]; did you mean "downgrade"?'),
    ('[alert.a]\nto = "desktop"\non = ["used-up", "treshold"]', '3: on = "treshold" is not possible; did you mean "threshold"?'),
    ('[budget.day]\nwindow = "day"', '1: [budget.day] has no amount; write amount = "50 USD"'),
    ('[budget.day]\namount = "5 USD"', '1: [budget.day] has no window; write window = "day" or window = "rolling 24h"'),
    (FINE.replace('"day"', '"daily"'), '3: window = "daily" is not a window; did you mean "day"?'),
    (FINE.replace('"day"', '"monthly"'), '3: window = "monthly" is not a window; did you mean "month"?'),
    (FINE.replace('"day"', '"30d"'), '3: window = "30d" is not a window; did you mean "rolling 30d"?'),
    (FINE.replace('"day"', '"last 5 minutes"'), '3: window = "last 5 minutes" is not a window; did you mean "rolling 5min"?'),
    (FINE.replace('"day"', '"fortnight"'), '3: window = "fortnight" is not a window; write one of hour, day,'),
    (FINE.replace('"day"', '"rolling 500d"'), '3: window = "rolling 500d" is too long; a rolling window may have 400 d at most'),
    (FINE.replace('"day"', "7"), "3: window = 7 is not text; write one of hour, day,"),
    (FINE + 'week_starts = "sunday"', '4: week_starts means something for window = "week" only; leave it out'),
    (FINE + 'share = "each"', '4: share = "each" in [budget.day] does not say of what; add per = "principal"'),
    (FINE + 'per = "principal"', '4: [budget.day] has per but not share; add share = "each": one such amount for every principal'),
    (FINE + 'share = "pool"\nper = "model"', '4: share = "pool" in [budget.day] is one amount for all: leave out per,'),
    (FINE + 'share = "each"\nper = "user"', '5: per = "user" is not possible; did you mean "principal"?'),
    (FINE + 'principal = "interns/*"', "4: [budget.day] covers several by principal without saying how they share;"),
    (FINE + 'project = ["a", "b"]', "4: [budget.day] covers several by project without saying how they share;"),
    (FINE + "model = []", "4: model = [] names nothing; leave it out, or name a pattern"),
    (FINE + 'model = ""', '4: model = "" is not a pattern: text of 1 to 256 printable characters'),
    (FINE + "provider = 5", "4: provider = 5 is not a pattern: text of 1 to 256 printable characters"),
    (FINE + f"model = {['m'] * 65}", "4: model has 65 values; 64 is the most"),
    (FINE + 'on_exceed = "block"', '4: on_exceed = "block" is not possible; write "refuse" or { rewrite = "a-cheaper-model" }'),
    (FINE + "on_exceed = {}", '4: on_exceed = {} says nothing; write "refuse" or { rewrite = "a-cheaper-model" }'),
    (FINE + 'on_exceed = { rewrit = "x" }', '4: unknown key "rewrit" in on_exceed of [budget.day]; did you mean "rewrite"?'),
    (FINE + "[budget.day.on_exceed]\nrewrite = 5", "5: rewrite = 5 is not a model: text of 1 to 200 printable characters"),
    (FINE + 'on_exceed = { rewrite = "*haiku*" }', '4: rewrite = "*haiku*" is a pattern; name the one model to ask instead'),
    (FINE + 'message = "Your credit  balance is too low"', '4: message must not say "credit balance is too low":'),
    (FINE + 'message = """a\nb"""', "4: message must be one line of text, 400 characters at most"),
    ('[budget."a b"]\namount = "5 USD"\nwindow = "day"', '1: budget name "a b": 1 to 64 letters, digits, _ and -'),
    ("mode = ", "1: not TOML:"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said.partition(";")[0] for _, said in WRONG])
def test_a_mistake_is_told_with_file_line_and_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(text)
    assert str(caught.value).startswith(f"policy.toml:{said}")
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = 'mode = "on"\n[budget.a]\namuont = "5 USD"\nwindow = "day"\n[budget.b]\namount = "5 USD"\nwindow = "dya"\n'
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, "conf/policy.toml")
    assert str(caught.value).splitlines() == [
        'conf/policy.toml:1: mode = "on" is not possible; known: observe, warn, enforce',
        'conf/policy.toml:2: [budget.a] has no amount; write amount = "50 USD"',
        'conf/policy.toml:3: unknown key "amuont" in [budget.a]; did you mean "amount"?',
        'conf/policy.toml:7: window = "dya" is not a window; did you mean "day"?',
    ]
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 7]
    assert caught.value.exit_code == 2


def test_a_thousand_mistakes_are_told_as_fifty_and_a_count() -> None:
    with pytest.raises(PolicyError) as caught:
        policy("".join(f"key{number} = 1\n" for number in range(1000)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "policy.toml: and 950 more problems"


def test_the_whole_form_is_read() -> None:
    read = policy("""
        schema = 1
        mode = "enforce"
        zone = "Europe/Rome"
        week_starts = "sunday"
        on_fault = "closed"
        on_ledger_error = "open"
        unknown_model = "refuse"
        [budget.team]
        amount = "0.25 USD"
        window = "week"
        share = "each"
        per = ["project", "principal"]
        principal = ["ada@*", "bob"]
        model = "*"
        mode = "observe"
        on_exceed = { rewrite = ["claude-haiku-4-5", "gpt-5-mini"] }
        message = "Ask #ai-budgets."
        [budget.roll]
        amount = "$7"
        window = "rolling 36h"
        zone = "UTC"
    """)
    assert (read.mode, read.on_fault, read.on_ledger_error) == (Mode.ENFORCE, OnFailure.CLOSED, OnFailure.OPEN)
    assert read.unknown_model is UnknownModel.REFUSE
    team, roll = read.budgets
    assert (team.amount_nanousd, team.share, team.per) == (USD // 4, Share.EACH, (Field.PRINCIPAL, Field.PROJECT))
    assert (team.window.kind, team.window.zone, team.window.week_starts) == (WindowKind.WEEK, "Europe/Rome", 6)
    assert [(name, [glob.pattern for glob in globs]) for name, globs in team.scope] == [
        (Field.PRINCIPAL, ["ada@*", "bob"]),
        (Field.MODEL, ["*"]),
    ]
    assert (team.mode, team.rewrite, team.message) == (Mode.OBSERVE, ("claude-haiku-4-5", "gpt-5-mini"), "Ask #ai-budgets.")
    assert (roll.amount_nanousd, roll.window.length_us, roll.share) == (7 * USD, 36 * HOUR, Share.POOL)
    assert read.by_name["roll"] is roll


def test_one_model_may_be_named_without_a_list() -> None:
    assert policy(FINE + 'on_exceed = { rewrite = "gpt-5-mini" }').budgets[0].rewrite == ("gpt-5-mini",)


def test_refuse_is_what_happens_when_nothing_else_is_said() -> None:
    assert policy(FINE).budgets[0].rewrite == policy(FINE + 'on_exceed = "refuse"').budgets[0].rewrite == ()


def test_an_empty_document_observes_everything_as_no_document_does() -> None:
    for read in (policy(""), OBSERVE_ALL):
        assert (read.mode, read.budgets, read.on_fault) == (Mode.OBSERVE, (), OnFailure.OPEN)
        assert read.digest == sha256(b"").hexdigest()


def test_an_enforcing_policy_that_says_nothing_of_the_ledger_does_not_become_no_policy_when_it_fails() -> None:
    assert policy('mode = "enforce"').on_ledger_error is OnFailure.CLOSED
    assert policy('mode = "observe"').on_ledger_error is OnFailure.OPEN


def test_the_digest_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(FINE.encode())
    assert load_policy(file).digest == sha256(file.read_bytes()).hexdigest()
    assert load_policy(file).name == "policy.toml"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_policy(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(b'mode = "observe"\n# caf\xe9\n')
    with pytest.raises(ConfigError, match=r"policy\.toml:2: not UTF-8"):
        load_policy(file)


@pytest.mark.parametrize("filler", [b"# ten byte", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6"])
def test_a_file_that_is_too_long_is_not_read(tmp_path: Path, filler: bytes) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(filler * (MAX_DOCUMENT_BYTES // 10 + 1))
    with pytest.raises(ConfigError, match="longer than 4,000,000 bytes"):
        load_policy(file)


def test_more_budgets_than_the_most_are_refused() -> None:
    with pytest.raises(ConfigError, match="10,001 budgets; 10,000 is the most"):
        policy("[budget]\n" + "".join(f"b{number} = {{}}\n" for number in range(MAX_BUDGETS + 1)))


def mistakes(text: str) -> list[str]:
    """What is told about a document: nothing when it is fine; anything but a ConfigError fails the test."""
    try:
        policy(text)
    except ConfigError as error:
        return str(error).splitlines()
    return []


@given(st.text(max_size=60))
def test_any_text_is_a_policy_or_a_config_error(text: str) -> None:
    assert all(line.startswith("policy.toml") for line in mistakes(text))


VALUES = st.recursive(
    st.sampled_from(['""', '"*"', '"each"', '"day"', "5", "0.5", "true", "[]", '["a", 1]', "1979-05-27", "{}", '"\\u0000"']),
    lambda inner: st.builds("{{ rewrite = {} }}".format, inner) | st.builds("[{}]".format, inner),
    max_leaves=3,
)


@given(
    st.sampled_from(BUDGET_KEYS),
    VALUES,
    st.booleans(),
)
def test_any_value_under_any_key_is_read_or_told_with_its_line(key: str, value: str, top: bool) -> None:
    text = f"{key} = {value}\n" if top else f"[budget.x]\n{key} = {value}\n"
    told = mistakes(text)
    assert top or told
    assert all(line.startswith(("policy.toml:1:", "policy.toml:2:")) for line in told)
