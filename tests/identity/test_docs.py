"""docs/identity.md: every configuration shown is one, and every section has one."""

import re
from pathlib import Path

import pytest

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
