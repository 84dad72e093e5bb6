"""docs/identity.md: every configuration shown is one, and every section has one."""

import re
from pathlib import Path
from typing import Any

import pytest

from identity.issuers import NOW_S, SigningKey, key, parsed, person, subject, verified, verifier_for
from identity.test_issuers import GOOD
from tollkeeper.identity.answers import Proof, Refused
from tollkeeper.identity.config import parse_identity
from tollkeeper.identity.issuer import Kind

PAGE = Path(__file__).resolve().parents[2] / "docs" / "identity.md"
SAMPLES = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: " ".join(re.findall(r"^\[.*\]$", sample, re.MULTILINE)))
def test_a_configuration_that_is_shown_can_be_used(sample: str) -> None:
    config = parse_identity(PAGE.with_name("identity.toml"), sample)
    assert config.issuers
    assert all(row.audiences for row in config.issuers)


def test_every_kind_is_shown() -> None:
    shown = {row.kind for sample in SAMPLES for row in parse_identity(PAGE, sample).issuers}
    assert shown == set(Kind)


def test_people_can_log_in_at_every_issuer_for_people_that_is_shown() -> None:
    rows = {row.kind: row for sample in SAMPLES for row in parse_identity(PAGE, sample).issuers if row.client is not None}
    assert set(rows) == {Kind.ACCESS, Kind.OKTA, Kind.ENTRA, Kind.GOOGLE, Kind.KEYCLOAK}


def test_every_key_of_the_table_is_a_key() -> None:
    from tollkeeper.identity.config import COMMON_KEYS

    table = PAGE.read_text(encoding="utf-8").split("These keys work for every kind")[1].split("## People")[0]
    named = {key for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", line)}
    assert named == set(COMMON_KEYS)


SHOWN = {kind: claims for kind, (claims, _) in GOOD.items()} | {Kind.ACCESS: person(), Kind.OIDC: subject()}
"""What each provider says in its tokens, by its own documentation; what is yours is filled in from the sample."""
YOURS: dict[Kind, dict[str, Any]] = {
    Kind.KEYCLOAK: {"email": "ada@example.com", "email_verified": True},
    Kind.AWS: {"sub": "arn:aws:iam::123456789012:role/batch-nightly"},
    Kind.OKTA: {"groups": ["research"]},
    Kind.ENTRA: {"groups": ["research"]},
}
ROWS = [
    pytest.param(sample, row.name, id=f"{number}-{row.kind}")
    for number, sample in enumerate(SAMPLES)
    for row in parse_identity(PAGE, sample).issuers
]


@pytest.mark.parametrize(("sample", "name"), ROWS)
def test_the_sample_of_a_provider_accepts_its_tokens_and_no_others(sample: str, name: str) -> None:
    config = parsed(sample.replace('groups = "get-identity"', ""))  # that is asked over the network: test_get_identity
    (row,) = (row for row in config.issuers if row.name == name)
    claims = SHOWN[row.kind] | {"iat": NOW_S - 5, "nbf": NOW_S - 5, "exp": NOW_S + 300} | YOURS.get(row.kind, {})
    claims |= {claim: values[0] for claim, values in row.required.items()} | {"aud": list(row.audiences)[:1]}
    claims |= {"iss": row.issuers[0]} if row.issuers else {}
    verifier = verifier_for(config, key("one"))
    found = verified(verifier, key("one").sign(claims))
    assert isinstance(found, Proof), found
    assert found.row == name
    wrong = [{"aud": "another"}, {"exp": NOW_S - 300}, *({claim: "another"} for claim in row.required)]
    for change in wrong:
        refused = verified(verifier, key("one").sign(claims | change))
        assert isinstance(refused, Refused), change
    assert isinstance(verified(verifier, SigningKey("one", "RS256", key("two").private).sign(claims)), Refused)
