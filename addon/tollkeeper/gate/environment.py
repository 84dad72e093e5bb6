"""What a client must have in its environment to go through the proxy and trust it.

Each runtime reads variables of its own (docs/gate.md has the table, measured). ``ALL_PROXY`` is left alone: with the two HTTP
variables it adds nothing for AI clients, and it would pull in protocols that an HTTP proxy cannot carry.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
DIRECT = ("NO_PROXY", "no_proxy")
ALWAYS_DIRECT = ("localhost", "127.0.0.1", "::1", "169.254.169.254")
"""Clients' own loop-back servers (opencode, OAuth call-backs) and the cloud's metadata address."""

REPLACING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "CODEX_CA_CERTIFICATE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "PIP_CERT",
)
"""These replace a client's store: they get the whole bundle."""
ADDING = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""These add to it: our root alone, so that a client does not parse 150 certificates at each start."""
WHEN_SET = ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "HTTPLIB2_CA_CERTS", "NIX_SSL_CERT_FILE")
"""Replaced only where the user has them: set, they would win over the variables above."""

ACTIVE = "TOLLKEEPER_ACTIVE"
SAVED = "TOLLKEEPER_SAVED"
"""JSON of the values that our exports replaced in a shell, so that ``env --unset`` can give them back."""

VARIABLES = (*PROXIES, *DIRECT, *REPLACING, *ADDING, *WHEN_SET, "NODE_USE_ENV_PROXY", ACTIVE)
"""All that may be set."""

_MAX_SAVED_CHARS = 32_768


def client_environment(proxy_url: str, bundle: Path, root: Path, parent: Mapping[str, str]) -> dict[str, str]:
    """The whole environment for a child: ``parent`` with our variables."""
    return {**parent, **client_variables(proxy_url, bundle, root, parent)}


def client_variables(proxy_url: str, bundle: Path, root: Path, parent: Mapping[str, str]) -> dict[str, str]:
    """Our variables alone. ``bundle``: system roots, the user's and ours; ``root``: ours alone; ``parent``: where the client starts."""
    before = environment_before(parent)
    made = dict.fromkeys(PROXIES, proxy_url)
    made |= dict.fromkeys(DIRECT, _no_proxy(before))
    made |= dict.fromkeys(REPLACING, str(bundle))
    made |= {name: str(bundle if before.get(name) else root) for name in ADDING}
    made |= {name: str(bundle) for name in WHEN_SET if before.get(name)}
    return made | {"NODE_USE_ENV_PROXY": "1", ACTIVE: "1"}


def environment_before(parent: Mapping[str, str]) -> dict[str, str]:
    """``parent`` as it was before our exports: our variables taken out, what they replaced put back."""
    if not parent.get(ACTIVE):
        return dict(parent)
    # Inside ``run``, which saves nothing, the merged list keeps what the user had.
    direct = {name: parent[name] for name in DIRECT if parent.get(name) and SAVED not in parent}
    return {name: value for name, value in parent.items() if name not in {*VARIABLES, SAVED}} | direct | _saved(parent)


def replaced(parent: Mapping[str, str]) -> str:
    """The value of ``SAVED`` for exports made on top of ``parent``."""
    before = environment_before(parent)
    return json.dumps({name: before[name] for name in VARIABLES if name in before and name != ACTIVE}, separators=(",", ":"))


def restored(parent: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What takes our exports back: (variables to set to what they were, variables to unset); nothing where there are none of ours."""
    if not parent.get(ACTIVE):
        return {}, ()
    saved = _saved(parent)
    return saved, tuple(name for name in (*VARIABLES, SAVED) if name not in saved)


def swallowed(no_proxy: str, names: Iterable[str]) -> tuple[str, ...]:
    """Which of ``names`` a ``NO_PROXY`` value sends past the proxy, unmetered.

    An entry matches a name and all below it, with or without a leading dot or ``*.``; ``*`` matches everything (curl's rules, which
    most clients share).
    """
    entries = [entry.strip().lower().partition(":")[0].removeprefix("*.").lstrip(".") for entry in no_proxy.split(",")]
    if "*" in entries:
        return tuple(names)
    return tuple(name for name in names if any(entry and (name == entry or name.endswith(f".{entry}")) for entry in entries))


def _no_proxy(before: Mapping[str, str]) -> str:
    """The user's own entries in both spellings, then ours; what the user sends past the proxy stays so (``doctor`` warns of AI hosts)."""
    theirs = (entry.strip() for name in DIRECT for entry in before.get(name, "").split(","))
    return ",".join(dict.fromkeys([*(entry for entry in theirs if entry), *ALWAYS_DIRECT]))


def _saved(parent: Mapping[str, str]) -> dict[str, str]:
    text = parent.get(SAVED, "")
    if not text or len(text) > _MAX_SAVED_CHARS:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if name in VARIABLES and isinstance(value, str)}
