"""Every budget of a policy appears once for each bucket it counts in, under the very key that enforcement uses."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.samples import NOW
from tollkeeper.core.decision import Standing
from tollkeeper.ledger.rows import Group, KeptBucket, Report
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.matching import matcher_of, values
from tollkeeper.policy.model import Policy
from tollkeeper.report.outlook import Health, lines_of, most_pressing, with_standing

POLICY = parse_policy(
    """
mode = "enforce"

[budget.team]
amount = "100 USD"
window = "month"
share = "pool"

[budget.person]
amount = "5 USD"
window = "day"
share = "each"
per = "principal"

[budget.place]
amount = "5 USD"
window = "week"
share = "each"
per = ["project", "model"]
mode = "observe"

[budget.interns]
amount = "1 USD"
window = "rolling 24h"
share = "each"
per = "principal"
principal = "interns/*"
""",
    "policy.toml",
)
NAMES = st.text(max_size=20)


def kept_of(**known: str) -> list[KeptBucket]:
    """The buckets a ledger would keep after one call of these values."""
    return [
        KeptBucket(key=limit.bucket.key, start_at=limit.bucket.start_at, length_us=limit.bucket.length_us)
        for limit in matcher_of(POLICY).match(values(**known)).limits(NOW)
    ]


@given(principal=NAMES, project=NAMES, model=NAMES)
def test_a_bucket_of_any_name_is_found_again_under_its_own_key(principal: str, project: str, model: str) -> None:
    from tollkeeper.policy.matching import kept

    known = {"principal": kept(principal), "project": kept(project), "model": kept(model)}
    buckets = kept_of(**known)
    lines = lines_of(POLICY, buckets, NOW)
    assert {line.limit.bucket.key for line in lines} == {bucket.key for bucket in buckets}
    named = {line.budget.name: line.who for line in lines}
    if "\ud800" not in principal and all(letter.isprintable() for letter in principal):
        assert named["person"] == (principal or "–")


def test_a_pool_stands_there_before_anybody_used_it() -> None:
    assert [line.budget.name for line in lines_of(POLICY, [], NOW)] == ["team"]


def test_a_share_of_a_window_that_is_over_is_not_shown() -> None:
    bucket = next(bucket for bucket in kept_of(principal="ada") if "principal" in bucket.key)
    old = KeptBucket(key=bucket.key, start_at=bucket.start_at - 86_400_000_000, length_us=None)
    assert [line.who for line in lines_of(POLICY, [old], NOW)] == [""]
    assert [line.who for line in lines_of(POLICY, [bucket], NOW)] == ["", "ada"]


def test_a_rolling_share_is_always_of_now() -> None:
    lines = lines_of(POLICY, kept_of(principal="interns/sam"), NOW + 3_600_000_000)
    interns = next(line for line in lines if line.budget.name == "interns")
    assert interns.limit.bucket.start_at == NOW + 3_600_000_000 - 86_400_000_000
    assert interns.projected_nanousd is None


def test_the_most_pressing_come_first_and_those_that_only_watch_after_their_equals() -> None:
    lines = lines_of(POLICY, [*kept_of(principal="ada", project="web", model="m"), *kept_of(principal="bob")], NOW)
    spent = {"team": 1, "ada": 6, "bob": 1, "web m": 6}

    def standing(name: str, amount: int) -> Standing:
        return Standing(
            budget=name, bucket="", amount_nanousd=amount, spent_nanousd=spent[name] * 10**9, held_nanousd=0, window="",
            resets_at=None, zone="UTC",
        )  # fmt: skip

    ordered = most_pressing(
        with_standing(line, standing(line.who or line.budget.name, line.limit.amount_nanousd), NOW)
        for line in lines
        if (line.who or line.budget.name) in spent
    )
    assert [line.who or line.budget.name for line in ordered][:2] == ["ada", "web m"]
    assert [line.acts for line in ordered][:2] == [True, False]
    assert ordered[0].health is Health.USED_UP
    assert ordered[-1].health is Health.OK


SHARED = parse_policy(
    """
[budget.each]
amount = "5 USD"
window = "day"
share = "each"
per = "principal"

[budget.pair]
amount = "5 USD"
window = "day"
share = "each"
per = ["project", "model", "label.a-b", "label.a.b"]
""",
    "policy.toml",
)


def buckets_of(policy: Policy, *callers: dict[str, Any]) -> list[KeptBucket]:
    limits = [limit for known in callers for limit in matcher_of(policy).match(values(**known)).limits(NOW)]
    return [
        KeptBucket(key=key, start_at=start_at, length_us=None)
        for key, start_at in dict.fromkeys((limit.bucket.key, limit.bucket.start_at) for limit in limits)
    ]


ADAS = [{"principal": "ada", "issuer": "local"}, {"principal": "ada", "issuer": "https://a.example"},
        {"principal": "ada", "issuer": "https://b.example"}, {"principal": "bob", "issuer": "https://a.example"}]  # fmt: skip
PAIRS = [{"project": "a b", "model": "c"}, {"project": "a", "model": "b c"}, {"project": "–", "model": "c"}, {"model": "c"}]


def test_two_of_the_same_name_at_different_issuers_can_be_told_apart() -> None:
    lines = [line for line in lines_of(SHARED, buckets_of(SHARED, *ADAS), NOW) if line.budget.name == "each"]
    assert [line.who for line in lines] == ["ada", "ada at https://a.example", "ada at https://b.example", "bob"]


def test_names_with_blanks_and_names_that_look_like_none_can_be_told_apart() -> None:
    lines = [line for line in lines_of(SHARED, buckets_of(SHARED, *PAIRS), NOW) if line.budget.name == "pair"]
    assert len({line.who for line in lines}) == len(PAIRS)


def test_no_series_of_the_open_metrics_is_there_twice() -> None:
    """In the OpenMetrics format (1.0) the labels of a metric are unique within its family."""
    from tollkeeper.report.openmetrics import report_openmetrics

    lines = lines_of(SHARED, buckets_of(SHARED, *ADAS, *PAIRS), NOW)
    standing = Standing(
        budget="", bucket="", amount_nanousd=5, spent_nanousd=1, held_nanousd=0, window="", resets_at=None, zone="UTC"
    )
    total = Group()
    empty = Report(
        by=(), since=None, until=None, zone="UTC", groups=(), total=total, first_at=None, last_at=None, price_sources=(),
        unpriced=(), unmetered=(), open_calls=0, open_nanousd=0, expired_calls=0,
    )  # fmt: skip
    written = report_openmetrics(empty, [with_standing(line, standing, NOW) for line in lines])
    series = [line.rpartition(" ")[0] for line in written.splitlines() if line.startswith("tollkeeper_budget_used_usd")]
    assert len(series) == len(set(series)) == len(lines)
    assert 'tollkeeper_budget_used_usd{budget="each",who="ada",principal="ada",issuer="https://a.example"}' in series
