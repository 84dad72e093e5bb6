"""What each provider's tokens must say: the shape of real ones passes, the traps of each are refused."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.issuers import NOW_S, FakeClock, key, parsed, verified, verifier_for
from identity.test_config import GUID, PRESETS
from tollkeeper.identity.answers import Proof, Refused, Why
from tollkeeper.identity.issuer import Kind
from tollkeeper.identity.subject import _matches, claim_at

ONE = key("one")
TIMES = {"iat": NOW_S - 5, "exp": NOW_S + 300}
OTHER = "99999999-2222-3333-4444-555555555555"
GITHUB = {
    "iss": "https://token.actions.githubusercontent.com", "aud": "tollkeeper", "sub": "repo:acme/app:ref:refs/heads/main",
    "repository": "acme/app", "repository_id": "74", "repository_owner": "acme", "repository_owner_id": "9919",
    "run_id": "1234", "run_attempt": "1", "actor": "ada", "ref": "refs/heads/main", "event_name": "push",
    "job_workflow_ref": "acme/app/.github/workflows/ci.yml@refs/heads/main", "runner_environment": "github-hosted",
}  # fmt: skip
GITLAB = {
    "iss": "https://gitlab.com", "aud": "tollkeeper", "sub": "project_path:acme/app:ref_type:branch:ref:main",
    "namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/app", "pipeline_id": "574",
    "job_id": "302", "ref": "main", "ref_protected": "true", "user_login": "ada",
}  # fmt: skip
ENTRA = {
    "iss": f"https://login.microsoftonline.com/{GUID}/v2.0", "aud": GUID, "tid": GUID, "oid": OTHER, "sub": "pairwise",
    "preferred_username": "ada@example.com", "ver": "2.0",
}  # fmt: skip
GOOGLE = {
    "iss": "https://accounts.google.com", "aud": "1.apps.googleusercontent.com", "azp": "1.apps.googleusercontent.com",
    "sub": "110169484474386276334", "email": "ada@example.com", "email_verified": True, "hd": "example.com",
}  # fmt: skip
KEYCLOAK = {
    "iss": "https://sso.example.com/realms/staff", "aud": ["tollkeeper", "account"], "sub": GUID, "typ": "Bearer",
    "azp": "cli", "realm_access": {"roles": ["research", "offline_access"]},
}  # fmt: skip
KUBERNETES = {
    "iss": "https://kubernetes.default.svc", "aud": ["tollkeeper"], "sub": "system:serviceaccount:batch:nightly",
    "kubernetes.io": {"namespace": "batch", "pod": {"name": "nightly-1"}},
}  # fmt: skip
CIRCLE = {
    "iss": f"https://oidc.circleci.com/org/{GUID}", "aud": GUID, "sub": f"org/{GUID}/project/{OTHER}/user/{GUID}",
    "oidc.circleci.com/project-id": OTHER, "oidc.circleci.com/vcs-ref": "refs/heads/main",
}  # fmt: skip
BUILDKITE = {
    "iss": "https://agent.buildkite.com", "aud": "tollkeeper", "sub": "organization:acme:pipeline:app:ref:refs/heads/main",
    "organization_id": GUID, "organization_slug": "acme", "pipeline_slug": "app", "build_number": 7,
}  # fmt: skip
SPIFFE = {"sub": "spiffe://example.org/ns/batch/sa/nightly", "aud": ["tollkeeper"]}
AWS = {
    "iss": "https://abc.tokens.sts.global.api.aws", "aud": "tollkeeper", "sub": "arn:aws:iam::123456789012:role/batch",
    "https://sts.amazonaws.com/": {"aws_account": "123456789012"},
}  # fmt: skip
OKTA = {"iss": "https://acme.okta.com/oauth2/default", "aud": "api://tollkeeper", "sub": "ada@example.com", "uid": "00u1"}

GOOD = {
    Kind.GITHUB: (GITHUB, "github:acme/app"),
    Kind.GITLAB: (GITLAB, "gitlab:acme/app"),
    Kind.ENTRA: (ENTRA, f"{OTHER}@{GUID}"),
    Kind.GOOGLE: (GOOGLE, "ada@example.com"),
    Kind.KEYCLOAK: (KEYCLOAK, GUID),
    Kind.KUBERNETES: (KUBERNETES, "system:serviceaccount:batch:nightly"),
    Kind.CIRCLECI: (CIRCLE, f"circleci:{OTHER}"),
    Kind.BUILDKITE: (BUILDKITE, "buildkite:acme/app"),
    Kind.SPIFFE: (SPIFFE, "spiffe://example.org/ns/batch/sa/nightly"),
    Kind.AWS: (AWS, "arn:aws:iam::123456789012:role/batch"),
    Kind.OKTA: (OKTA, "ada@example.com"),
}


def check(kind: Kind, claims: Mapping[str, Any], extra: str = "") -> Proof | Refused:
    config = parsed(f'[issuer.row]\nkind = "{kind}"\n{PRESETS[kind]}\n{extra}')
    times = {"exp": NOW_S + 300} if kind is Kind.SPIFFE else TIMES
    return verified(verifier_for(config, ONE), ONE.sign({**times, **claims}))


@pytest.mark.parametrize("kind", GOOD)
def test_a_token_in_the_providers_own_shape_is_accepted(kind: Kind) -> None:
    claims, expected = GOOD[kind]
    found = check(kind, claims)
    assert isinstance(found, Proof), found
    assert found.principal.subject == expected


TRAPS: dict[str, tuple[Kind, dict[str, Any], Why]] = {
    "another owner's job under GitHub's shared issuer": (Kind.GITHUB, GITHUB | {"repository_owner_id": "1"}, Why.CLAIMS),
    "an owner's old name, taken by somebody else": (
        Kind.GITHUB, GITHUB | {"repository_owner_id": "2", "repository_owner": "acme"}, Why.CLAIMS,
    ),
    "a GitHub token without an owner's id": (Kind.GITHUB, {k: v for k, v in GITHUB.items() if "owner" not in k}, Why.CLAIMS),
    "a GitHub token for the default audience": (Kind.GITHUB, GITHUB | {"aud": "https://github.com/acme"}, Why.AUDIENCE),
    "a fork's merge request on GitLab": (Kind.GITLAB, GITLAB | {"namespace_id": "99", "project_path": "eve/app"}, Why.CLAIMS),
    "another organisation at Buildkite": (Kind.BUILDKITE, BUILDKITE | {"organization_id": OTHER}, Why.CLAIMS),
    "another organisation at CircleCI": (Kind.CIRCLECI, CIRCLE | {"iss": f"https://oidc.circleci.com/org/{OTHER}"}, Why.ISSUER),
    "another tenant at Entra": (Kind.ENTRA, ENTRA | {"tid": OTHER}, Why.CLAIMS),
    "an Entra token without an object id": (Kind.ENTRA, {k: v for k, v in ENTRA.items() if k != "oid"}, Why.SUBJECT),
    "a Google account outside the domain": (Kind.GOOGLE, {k: v for k, v in GOOGLE.items() if k != "hd"}, Why.CLAIMS),
    "an address that Google has not verified": (Kind.GOOGLE, GOOGLE | {"email_verified": False}, Why.SUBJECT),
    "an address that is verified by the word yes": (Kind.GOOGLE, GOOGLE | {"email_verified": "yes"}, Why.SUBJECT),
    "a log-out token of Keycloak": (Kind.KEYCLOAK, KEYCLOAK | {"typ": "Logout"}, Why.CLAIMS),
    "a person's token of a Kubernetes cluster": (Kind.KUBERNETES, KUBERNETES | {"sub": "kubernetes-admin"}, Why.SUBJECT),
    "another trust domain": (Kind.SPIFFE, SPIFFE | {"sub": "spiffe://evil.org/ns/batch"}, Why.ISSUER),
    "a trust domain that only begins right": (Kind.SPIFFE, SPIFFE | {"sub": "spiffe://example.org.evil/x"}, Why.ISSUER),
    "a trust domain without a path": (Kind.SPIFFE, SPIFFE | {"sub": "spiffe://example.org"}, Why.ISSUER),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_the_trap_of_a_provider_is_refused(name: str) -> None:
    kind, claims, why = TRAPS[name]
    found = check(kind, claims)
    assert isinstance(found, Refused), found
    assert found.why is why, found


@pytest.mark.parametrize("marker", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
def test_groups_that_entra_left_out_are_an_error_that_says_what_to_do(marker: dict[str, Any]) -> None:
    found = check(Kind.ENTRA, ENTRA | marker, 'groups = "groups"\n')
    assert isinstance(found, Refused)
    assert found.why is Why.GROUPS
    assert "more than 200" in str(found)
    assert "Groups assigned to the application" in str(found)


def test_an_entra_person_in_no_group_is_in_no_group() -> None:
    found = check(Kind.ENTRA, ENTRA, 'groups = "groups"\n')
    assert isinstance(found, Proof)
    assert found.principal.groups == frozenset()


def test_groups_are_read_from_inside_a_claim_and_joined_with_the_static_ones() -> None:
    extra = f'groups = "realm_access.roles"\nstatic_groups = {{ owners = ["{GUID}"] }}\n'
    found = check(Kind.KEYCLOAK, KEYCLOAK, extra)
    assert isinstance(found, Proof)
    assert found.principal.groups == {"research", "offline_access", "owners"}


def test_a_job_brings_its_run_along_as_evidence() -> None:
    found = check(Kind.GITHUB, GITHUB | {"actor": "a\x1bda"})
    assert isinstance(found, Proof)
    assert found.evidence["run_id"] == "1234"
    assert found.evidence["ref"] == "refs/heads/main"
    assert found.evidence["actor"] == "a?da"


def test_a_required_claim_may_be_a_truth_value_or_one_of_several() -> None:
    extra = 'require = { ref_protected = true, ref = ["main", "release"] }\n'
    assert isinstance(check(Kind.GITLAB, GITLAB, extra), Proof)
    assert isinstance(check(Kind.GITLAB, GITLAB | {"ref_protected": True}, extra), Proof)
    assert isinstance(check(Kind.GITLAB, GITLAB | {"ref_protected": "false"}, extra), Refused)
    assert isinstance(check(Kind.GITLAB, GITLAB | {"ref": "feature"}, extra), Refused)


def test_only_the_named_subjects_are_accepted() -> None:
    extra = 'subjects = ["ada@example.com", "*@research.example.com"]\n'
    assert isinstance(check(Kind.GOOGLE, GOOGLE, extra), Proof)
    assert isinstance(check(Kind.GOOGLE, GOOGLE | {"email": "bo@research.example.com"}, extra), Proof)
    found = check(Kind.GOOGLE, GOOGLE | {"email": "eve@example.com"}, extra)
    assert isinstance(found, Refused)
    assert "subjects" in found.remedy


def test_a_namespace_of_a_cluster_can_be_all_that_is_accepted() -> None:
    assert isinstance(check(Kind.KUBERNETES, KUBERNETES, 'namespaces = ["batch"]\n'), Proof)
    assert isinstance(check(Kind.KUBERNETES, KUBERNETES, 'namespaces = ["bat"]\n'), Refused)


def test_a_clock_that_is_wrong_is_told_as_a_clock_that_is_wrong() -> None:
    config = parsed(f'[issuer.row]\nkind = "okta"\n{PRESETS[Kind.OKTA]}\n')
    verifier = verifier_for(config, ONE, clock=FakeClock(NOW_S - 7_200))
    found = verified(verifier, ONE.sign({**TIMES, **OKTA}))
    assert isinstance(found, Refused)
    assert "check this machine's clock" in found.remedy
    assert "begins in 119 min" in found.reason


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_star_stands_for_any_run_of_characters(pattern: str, text: str) -> None:
    import re

    expected = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None
    assert _matches(pattern, text) is expected


def test_a_claim_is_found_by_its_whole_name_before_its_path() -> None:
    assert claim_at({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert claim_at({"a": {"b": 2}}, "a.b") == 2
    assert claim_at({"a": [1]}, "a.b") is None
