"""What a client gets in its environment, and how it is given back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.gate.environment import (
    ACTIVE,
    ADDING,
    ALWAYS_DIRECT,
    DIRECT,
    PROXIES,
    REPLACING,
    SAVED,
    VARIABLES,
    WHEN_SET,
    client_environment,
    client_variables,
    environment_before,
    replaced,
    restored,
    swallowed,
)

URL, BUNDLE, ROOT = "http://127.0.0.1:8877", Path("/state/ca/bundle.pem"), Path("/state/ca/root.pem")


def variables(parent: dict[str, str]) -> dict[str, str]:
    return client_variables(URL, BUNDLE, ROOT, parent)


def test_every_client_of_the_table_finds_its_variable() -> None:
    made = variables({})
    assert [made[name] for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")] == [URL] * 4
    for name in (
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "CODEX_CA_CERTIFICATE",
        "GIT_SSL_CAINFO",
    ):
        assert made[name] == str(BUNDLE)
    for name in ("CARGO_HTTP_CAINFO", "PIP_CERT", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        assert made[name] == str(BUNDLE)
    assert made["NODE_EXTRA_CA_CERTS"] == made["DENO_CERT"] == str(ROOT)
    assert made["NODE_USE_ENV_PROXY"] == made[ACTIVE] == "1"


def test_a_child_keeps_everything_else_of_its_environment() -> None:
    made = client_environment(URL, BUNDLE, ROOT, {"PATH": "/bin", "HOME": "/h", "ALL_PROXY": "socks5://x:1"})
    assert made["PATH"] == "/bin"
    assert made["ALL_PROXY"] == "socks5://x:1"


def test_variables_that_add_get_the_bundle_where_the_user_had_roots_of_his_own() -> None:
    assert variables({"NODE_EXTRA_CA_CERTS": "/company.pem"})["NODE_EXTRA_CA_CERTS"] == str(BUNDLE)


@pytest.mark.parametrize("name", WHEN_SET)
def test_variables_that_would_win_are_replaced_only_where_they_are_set(name: str) -> None:
    assert name not in variables({})
    assert variables({name: "/company.pem"})[name] == str(BUNDLE)


def test_loopback_and_the_metadata_address_stay_direct_in_both_spellings() -> None:
    made = variables({"NO_PROXY": "intranet.example, localhost", "no_proxy": ".corp,,intranet.example"})
    assert made["NO_PROXY"] == made["no_proxy"] == "intranet.example,localhost,.corp,127.0.0.1,::1,169.254.169.254"


@pytest.mark.parametrize(
    ("no_proxy", "expected"),
    [
        ("", ()),
        ("localhost,127.0.0.1", ()),
        ("*", ("api.openai.com", "api.anthropic.com")),
        ("openai.com", ("api.openai.com",)),
        (".openai.com", ("api.openai.com",)),
        ("*.anthropic.com", ("api.anthropic.com",)),
        ("API.OpenAI.com:443", ("api.openai.com",)),
        ("notopenai.com, penai.com", ()),
        (" , ,", ()),
        ("com", ("api.openai.com", "api.anthropic.com")),
    ],
)
def test_hosts_that_no_proxy_hides_are_found(no_proxy: str, expected: tuple[str, ...]) -> None:
    assert swallowed(no_proxy, ("api.openai.com", "api.anthropic.com")) == expected


PARENTS = st.dictionaries(
    st.sampled_from([*VARIABLES[:-1], "PATH", "ALL_PROXY"]),
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1),
    max_size=8,
)


def exported(parent: dict[str, str]) -> dict[str, str]:
    """A shell after ``eval "$(tollkeeper env)"``."""
    return {**parent, **variables(parent), SAVED: replaced(parent)}


def unset(shell: dict[str, str]) -> dict[str, str]:
    """A shell after ``eval "$(tollkeeper env --unset)"``."""
    before, gone = restored(shell)
    return {name: value for name, value in {**shell, **before}.items() if name not in gone}


@given(PARENTS)
def test_unsetting_gives_back_exactly_what_was_there(parent: dict[str, str]) -> None:
    assert unset(exported(parent)) == parent


@given(PARENTS)
def test_exporting_twice_is_exporting_once(parent: dict[str, str]) -> None:
    once = exported(parent)
    assert exported(once) == once
    assert environment_before(once) == parent


def test_a_nested_run_without_saved_values_takes_no_path_of_ours_for_the_users() -> None:
    child = client_environment(URL, BUNDLE, ROOT, {"NO_PROXY": "intranet"})
    inner = client_variables("http://127.0.0.1:1", BUNDLE, ROOT, child)
    assert inner["NODE_EXTRA_CA_CERTS"] == str(ROOT)
    assert inner["NO_PROXY"] == ",".join(("intranet", *ALWAYS_DIRECT))


def test_nothing_is_taken_back_in_a_shell_that_uses_no_proxy_of_ours() -> None:
    assert restored({"SSL_CERT_FILE": "/company.pem", "HTTPS_PROXY": "http://company:3128"}) == ({}, ())


@pytest.mark.parametrize("saved", ["", "{", "[]", "7", '{"PATH": "/evil"}', '{"PIP_CERT": 1}', "x" * 100_000])
def test_saved_values_that_are_damaged_restore_nothing(saved: str) -> None:
    before, gone = restored({ACTIVE: "1", SAVED: saved})
    assert before == {}
    assert set(gone) == {*VARIABLES, SAVED}


def test_the_list_of_variables_is_whole() -> None:
    assert set(variables(dict.fromkeys(WHEN_SET, "/x"))) == set(VARIABLES)
    assert len(set(VARIABLES)) == len(VARIABLES) == len((*PROXIES, *DIRECT, *REPLACING, *ADDING, *WHEN_SET)) + 2
