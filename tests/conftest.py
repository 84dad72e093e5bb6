"""What every test shares: no test reads the environment's proxies, trust stores or the real home."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import tollkeeper.proxy  # noqa: F401 — before mitmproxy's own packages: keeps its unused add-ons out

REPOSITORY = Path(__file__).resolve().parent.parent

# Proxies are started by the hundred, with -O: where nothing may be written beside the sources, as in many containers, each start
# would compile all of mitmproxy again and take twice its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No verdict depends on how fast the machine is, and the same tree has the same examples on every machine. New ones are looked for with
# `make test ARGS="--hypothesis-profile=explore"` and with `make fuzz`.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile("same")

INHERITED = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CODEX_CA_CERTIFICATE", "GIT_SSL_CAINFO", "TOLLKEEPER_HOME", "TOLLKEEPER_RESOLVE",
    "TOLLKEEPER_ACTIVE", "XDG_DATA_HOME",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No inherited proxy or trust settings, and a home of the test's own."""
    for name in list(os.environ):
        if name.upper() in INHERITED:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path / "home"))
    return
