"""The order of trust: what is proved wins, what is wrong refuses, what is claimed proves nothing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.principal import ANONYMOUS, Assurance, Principal
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.channels import (
    STRIPPED_HEADERS,
    Checked,
    OnNoIdentity,
    Presented,
    collect,
    is_stripped,
    is_stripped_value,
    resolve,
)  # fmt: skip
from tollkeeper.identity.config import OWN_HEADER
from tollkeeper.identity.services import Pair


def who(subject: str, channel: str, assurance: Assurance = Assurance.VERIFIED) -> Principal:
    return Principal(subject=subject, issuer="https://a.example", channel=channel, assurance=assurance)


def proof(subject: str, channel: str, assurance: Assurance = Assurance.VERIFIED) -> Proof:
    return Proof(principal=who(subject, channel, assurance))


BAD = Refused(why=Why.SIGNATURE, reason="wrong")
PEER = who("ada", "peer", Assurance.LOCAL_LOGIN)
KEY = who("key:0", "provider-key", Assurance.CLAIMED)
DEFAULT = who("ada", "default", Assurance.LOCAL_LOGIN)
WEAK = {"peer": PEER, "key": KEY, "default": DEFAULT}


def test_the_order_of_trust_is_the_order_of_the_channels() -> None:
    strong = {
        "password": proof("ada", "handle"),
        "token": proof("ada", "header"),
        "service": proof("ada", "service-token", Assurance.STATIC),
    }
    present = dict(strong, **WEAK)
    for name, channel in [
        ("password", "handle"), ("token", "header"), ("service", "service-token"), ("peer", "peer"), ("key", "provider-key"),
        ("default", "default"),
    ]:  # fmt: skip
        assert resolve(Checked(**present)).principal.channel == channel  # type: ignore[arg-type]
        del present[name]
    assert resolve(Checked()).principal == ANONYMOUS


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(("password", "token", "service"), 2)))
def test_two_proofs_that_disagree_are_refused(one: str, other: str) -> None:
    found = resolve(Checked(**{one: proof("ada", one), other: proof("eve", other)}, **WEAK))  # type: ignore[arg-type]
    assert found.refusal is not None
    assert found.refusal.why is Why.DISAGREE
    assert found.principal == ANONYMOUS
    assert "ada" not in str(found.refusal)


def test_the_same_name_at_two_issuers_is_two_people() -> None:
    other = Proof(principal=Principal(subject="ada", issuer="https://b.example", assurance=Assurance.VERIFIED))
    found = resolve(Checked(password=proof("ada", "handle"), token=other))
    assert found.refusal is not None


@pytest.mark.parametrize("name", ["password", "token", "service"])
def test_a_wrong_credential_is_never_worth_as_much_as_none(name: str) -> None:
    good = {channel: proof("ada", channel) for channel in ("password", "token", "service")}
    found = resolve(Checked(**{**good, name: BAD}, **WEAK))  # type: ignore[arg-type]
    assert found.refusal is BAD
    assert found.principal == ANONYMOUS


@pytest.mark.parametrize("rule", OnNoIdentity)
def test_without_a_proof_the_policys_word_decides(rule: OnNoIdentity) -> None:
    found = resolve(Checked(**WEAK), rule)  # type: ignore[arg-type]
    match rule:
        case OnNoIdentity.DEFAULT:
            assert found.principal == PEER
        case OnNoIdentity.MARK:
            assert found.principal == ANONYMOUS
            assert found.refusal is None
        case OnNoIdentity.REFUSE:
            assert found.refusal is not None
            assert found.refusal.why is Why.MISSING
            assert "tollkeeper run" in found.refusal.remedy


@pytest.mark.parametrize("rule", OnNoIdentity)
def test_a_proof_needs_no_word_of_the_policy(rule: OnNoIdentity) -> None:
    assert resolve(Checked(token=proof("ada", "header")), rule).principal.subject == "ada"


def test_a_claimed_address_is_set_apart_from_every_real_subject() -> None:
    claims = (("cf-access-authenticated-user-email", "ada@example.com"),)
    found = resolve(Checked(claims=claims, default=DEFAULT), OnNoIdentity.MARK)
    assert found.principal.subject == "claimed:ada@example.com"
    assert found.principal.assurance is Assurance.CLAIMED
    assert found.claims == claims
    assert resolve(Checked(claims=claims, default=DEFAULT)).principal == DEFAULT


def test_exactly_one_token_is_taken_from_the_headers() -> None:
    assert collect([("Cf-Access-Jwt-Assertion", "a.b.c")], OWN_HEADER).token == "a.b.c"
    assert collect([("cf-access-token", "a.b.c")], OWN_HEADER).token == "a.b.c"
    assert collect([(OWN_HEADER, "a.b.c")], OWN_HEADER).token == "a.b.c"
    assert collect([("x-corp", "a.b.c")], "x-corp").token == "a.b.c"
    assert collect([("authorization", "Bearer a.b.c")], OWN_HEADER) == Presented()


@pytest.mark.parametrize(
    "names", [("cf-access-jwt-assertion",) * 2, ("cf-access-jwt-assertion", "cf-access-token"), ("CF-Access-Token", OWN_HEADER)]
)
def test_two_tokens_are_refused_even_when_they_are_equal(names: tuple[str, str]) -> None:
    found = collect([(name, "a.b.c") for name in names], OWN_HEADER).token
    assert isinstance(found, Refused)
    assert found.why is Why.SEVERAL


def test_service_tokens_and_claims_are_collected_apart() -> None:
    found = collect(
        [("CF-Access-Client-Id", "x"), ("cf-access-client-secret", "y"), ("X-User", "eve\x1b"), ("x-forwarded-email", "e" * 999)],
        OWN_HEADER,
    )
    assert found.service == Pair("x", "y")
    assert found.claims == (("x-user", "eve?"), ("x-forwarded-email", "e" * 256))


@given(st.sampled_from(sorted(STRIPPED_HEADERS)), st.randoms())
def test_no_identity_header_leaves_in_any_spelling(name: str, random: object) -> None:
    spelled = "".join(char.upper() if getattr(random, "random")() < 0.5 else char for char in name)  # noqa: B009
    assert is_stripped(spelled, OWN_HEADER)


def test_our_own_headers_and_the_configured_one_do_not_leave_but_a_providers_do() -> None:
    assert all(is_stripped(name, "x-corp") for name in ("X-Corp", "X-Tollkeeper-Token", "X-Forwarded-For", "Proxy-Authorization"))
    kept = ("authorization", "x-api-key", "anthropic-version", "cookie", "cf-aig-authorization", "user-agent", "x-goog-api-key")
    assert not any(is_stripped(name, "x-corp") for name in kept)


@pytest.mark.parametrize("name", ["Authorization", "x-corp-service"])
def test_a_service_token_as_json_is_read_from_any_header(name: str) -> None:
    value = '{"cf-access-client-id":"x","CF-Access-Client-Secret":"y"}'
    assert collect([(name, value)], OWN_HEADER).service == Pair("x", "y")
    assert is_stripped_value(value)
    half = collect([(name, '{"cf-access-client-secret":"y"}')], OWN_HEADER).service
    assert isinstance(half, Refused)


@pytest.mark.parametrize("value", ['{"cf-access-client-secret":"y"', ' { "CF-Access-Client-Secret" : 1 }'])
def test_a_broken_service_token_does_not_leave_either(value: str) -> None:
    assert is_stripped_value(value)


@pytest.mark.parametrize("value", ["Bearer sk-x", "{}", '{"a":1}', "", 'Bearer {"cf-access-client-secret":"y"}'])
def test_other_values_leave_as_they_came(value: str) -> None:
    assert not is_stripped_value(value)
