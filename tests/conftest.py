"""What every test shares: no test reads the environment's proxies, trust stores or the real home."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tollkeeper.proxy  # noqa: F401 — before mitmproxy's own packages: keeps its unused add-ons out

REPOSITORY = Path(__file__).resolve().parent.parent

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
