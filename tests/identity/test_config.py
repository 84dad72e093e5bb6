"""identity.toml: every preset is complete, every mistake has its line, nothing of a secret is repeated."""

from pathlib import Path

import pytest

from identity.issuers import AUD, CONFIG, parsed
from tollkeeper.core.errors import ConfigError
from tollkeeper.identity.config import NOBODY, load_identity
from tollkeeper.identity.issuer import GroupSource, Kind

GUID = "11111111-2222-3333-4444-555555555555"

PRESETS = {
    Kind.ACCESS: f'team = "acme"\naudience = "{AUD}"',
    Kind.OKTA: 'issuer = "https://acme.okta.com/oauth2/default"\naudience = "api://tollkeeper"',
    Kind.ENTRA: f'tenant = "{GUID}"\naudience = "{GUID}"',
    Kind.GOOGLE: 'hosted_domain = "example.com"\nclient_id = "1.apps.googleusercontent.com"',
    Kind.KEYCLOAK: 'url = "https://sso.example.com"\nrealm = "staff"\naudience = "tollkeeper"',
    Kind.OIDC: 'issuer = "https://login.example.com"\naudience = "tollkeeper"',
    Kind.GITHUB: 'owner_id = "9919"\naudience = "tollkeeper"',
    Kind.GITLAB: 'namespace_id = "72"\naudience = "tollkeeper"',
    Kind.CIRCLECI: f'organization_id = "{GUID}"',
    Kind.BUILDKITE: f'organization_id = "{GUID}"\naudience = "tollkeeper"',
    Kind.KUBERNETES: 'issuer = "https://kubernetes.default.svc"\naudience = "tollkeeper"\njwks_file = "k8s.json"',
    Kind.SPIFFE: 'trust_domain = "example.org"\naudience = "tollkeeper"\njwks_file = "bundle.json"',
    Kind.AWS: 'issuer = "https://abc.tokens.sts.global.api.aws"\naudience = "tollkeeper"',
}


@pytest.mark.parametrize("kind", Kind)
def test_a_preset_needs_only_what_is_yours(kind: Kind) -> None:
    config = parsed(f'[issuer.row]\nkind = "{kind}"\n{PRESETS[kind]}\n')
    (row,) = config.issuers
    assert row.kind is kind
    assert row.audiences
    assert row.issuers or kind is Kind.SPIFFE
    assert all(issuer.startswith("https://") or issuer == "accounts.google.com" for issuer in row.issuers)


@pytest.mark.parametrize("kind", Kind)
def test_every_preset_says_what_is_missing_from_an_empty_row(kind: Kind) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(f'[issuer.row]\nkind = "{kind}"\n')
    assert "identity.toml:1:" in str(caught.value)
    assert "write" in str(caught.value)


WRONG = {
    "shema = 1\n": 'identity.toml:1: unknown key "shema" in the document; did you mean "schema"?',
    "schema = 2\n": "identity.toml:1: schema = 2 is not known; this version reads schema = 1",
    'header = "Authorization"\n': 'identity.toml:1: header = "authorization" is needed by providers',
    '[issuer.a]\nkind = "octa"\n': 'identity.toml:2: kind = "octa" is not possible; did you mean "okta"?',
    '[issuer.a]\nissuer = "https://a.example"\n': "identity.toml:1: [issuer.a] has no kind",
    '[issuer.a]\nkind = "oidc"\nissuer = "http://a.example"\naudience = "x"\n': 'identity.toml:3: issuer = "http://a.example" must begin',
    '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naud = "x"\n': 'unknown key "aud" in [issuer.a]; did you mean "audience"?',
    '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "x"\nalgorithms = ["HS256"]\n': (
        'identity.toml:5: algorithms = "HS256" is not possible'
    ),
    '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "x"\nsubject = "ada"\n': "name claims in braces",
    '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "x"\nsubject = "{a b}"\n': "is not the name of a claim",
    '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "x"\ngroups = "get-identity"\n': "an address of Cloudflare",
    '[issuer.a]\nkind = "github-actions"\naudience = "x"\n': "identity.toml:1: [issuer.a] has no owner_id",
    '[issuer.a]\nkind = "github-actions"\naudience = "x"\nowner_id = 9919\n': 'write it like owner_id = "9919"',
    '[issuer.a]\nkind = "gitlab"\naudience = "x"\n': "would accept every project on gitlab.com",
    '[issuer.a]\nkind = "google"\nclient_id = "x"\n': "would accept every Google account",
    '[issuer.a]\nkind = "cloudflare-access"\nteam = "acme"\naudience = "abc"\n': "64 hexadecimal digits",
    '[issuer.a]\nkind = "kubernetes"\nissuer = "https://k.example"\naudience = "x"\nsubject = "{x}"\n': "subject is fixed",
    '[issuer.a]\nkind = "spiffe"\ntrust_domain = "example.org"\naudience = "x"\n': "has no keys",
    '[issuer."a b"]\nkind = "oidc"\n': "a name has 1 to 64 letters",
    "issuer = 3\n": "must be tables with names",
    "clock_skew_seconds = 3000\n": "write a whole number from 0 to 300",
    '[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\naudience = "x"\nscopes = ["openid"]\n': "which needs client_id",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_told_with_its_line_and_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert WRONG[text] in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("a = 1\nb = 2\nclock_skew_seconds = true\n")
    assert len(str(caught.value).splitlines()) == 3


def test_a_secret_written_where_its_digest_belongs_is_not_repeated() -> None:
    secret = "cfast_" + "Zq3" * 16
    with pytest.raises(ConfigError) as caught:
        parsed(f'[service.a]\nclient_id = "x.access"\nsecret_sha256 = "{secret}"\n')
    assert "not a SHA-256" in str(caught.value)
    assert secret not in str(caught.value)


def test_a_client_secret_that_is_wrong_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed('[issuer.a]\nkind = "oidc"\nissuer = "https://a.example"\nclient_id = "x"\nclient_secret = "canary with spaces"\n')
    assert "canary" not in str(caught.value)


def test_two_services_cannot_share_a_client_id() -> None:
    row = f'client_id = "x.access"\nsecret_sha256 = "{"0" * 64}"\n'
    with pytest.raises(ConfigError, match=r"\[service.a\] has the same client_id"):
        parsed(f"[service.a]\n{row}[service.b]\n{row}")


def test_fixed_claims_cannot_be_loosened() -> None:
    config = parsed(f'{CONFIG}require = {{ a = true }}\n[issuer.x]\nkind = "github-actions"\naudience = "x"\nowner_id = "1"\n'
                    'require = { repository_owner_id = "2", environment = ["production", "staging"] }\n')  # fmt: skip
    by_name = {row.name: row for row in config.issuers}
    assert by_name["x"].required == {"repository_owner_id": ("1",), "environment": ("production", "staging")}
    assert by_name["oidc"].required == {"a": ("true",)}


def test_groups_come_from_a_claim_an_address_or_a_static_map() -> None:
    config = parsed(CONFIG.replace('"custom.groups"', '"get-identity"'))
    access, oidc = config.issuers
    assert access.groups_from is GroupSource.GET_IDENTITY
    assert (oidc.groups_from, oidc.groups_claim) == (GroupSource.CLAIM, "groups")
    assert access.static_groups == {"ada@example.com": frozenset({"owners"})}


def test_without_a_document_nobody_is_believed(tmp_path: Path) -> None:
    assert load_identity(tmp_path / "identity.toml") is NOBODY
    (tmp_path / "identity.toml").write_text("")
    assert load_identity(tmp_path / "identity.toml").issuers == ()


def test_files_are_found_beside_the_document(tmp_path: Path) -> None:
    config = parsed(f'[issuer.k]\nkind = "kubernetes"\n{PRESETS[Kind.KUBERNETES]}\n', tmp_path / "identity.toml")
    assert config.issuers[0].jwks_file == tmp_path / "k8s.json"
