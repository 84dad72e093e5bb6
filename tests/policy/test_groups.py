"""``[groups]``: groups that the policy itself gives to people."""

import pytest

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.principal import Assurance, Principal
from tollkeeper.policy.diff import differences
from tollkeeper.policy.document import parse_policy
from tollkeeper.policy.group_table import in_groups
from tollkeeper.policy.words import rule_sentences

TEXT = """
[groups]
research = ["ada@example.com", "bo@example.com"]
ml = ["ada@example.com"]
interns = ["kim at https://login.example.com"]
"""
POLICY = parse_policy(TEXT, "policy.toml")


def person(subject: str, issuer: str = "https://login.example.com", assurance: Assurance = Assurance.VERIFIED) -> Principal:
    return Principal(subject=subject, issuer=issuer, assurance=assurance, groups=frozenset({"staff"}))


def test_a_member_gets_the_groups_of_the_document_beside_those_of_the_issuer() -> None:
    assert in_groups(POLICY, person("ada@example.com")).groups == {"staff", "research", "ml"}
    assert in_groups(POLICY, person("bo@example.com", "local", Assurance.LOCAL_LOGIN)).groups == {"staff", "research"}


def test_a_name_at_an_issuer_is_nobody_elses() -> None:
    assert in_groups(POLICY, person("kim")).groups == {"staff", "interns"}
    assert in_groups(POLICY, person("kim", "https://elsewhere.example")).groups == {"staff"}
    assert in_groups(POLICY, person("kim", "local")).groups == {"staff"}


@pytest.mark.parametrize("assurance", [Assurance.CLAIMED, Assurance.NONE])
def test_whoever_only_claims_to_be_somebody_is_in_no_group(assurance: Assurance) -> None:
    asked = person("ada@example.com", assurance=assurance)
    assert in_groups(POLICY, asked) is asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups = 5", '1: groups is a table; write [groups] and research = ["ada@example.com"] below it'),
        ('[groups]\nresearch = "ada"\n"a,b" = ["x"]', "3: group 'a,b': 1 to 100 printable characters without a comma"),
        ("[groups]\nresearch = []", "2: research = [] names nothing; leave it out, or name a member"),
        ("[groups]\nresearch = [7]", "2: research = 7 is not a member: text of 1 to 512 printable characters"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_policy(text, "policy.toml")
    assert said in str(told.value).replace('"a,b"', "'a,b'")


def test_an_edit_and_the_rules_are_told_in_words() -> None:
    new = parse_policy(TEXT.replace('ml = ["ada@example.com"]\n', ""), "policy.toml")
    assert list(differences(POLICY, new)) == ["groups of ada@example.com: ml, research -> research"]
    assert "group research: 2 members by this document, besides whom an issuer names" in rule_sentences(POLICY)
