"""The how-to pages: one for each thing that people set up, and every document in them is one that the product reads."""

import re
import textwrap
from pathlib import Path

import pytest

from tollkeeper.identity.config import parse_identity
from tollkeeper.policy.document import parse_policy

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
WANTED = {
    "access",
    "okta",
    "ci",
    "claude-code",
    "codex",
    "gemini-cli",
    "cursor",
    "docker",
    "statusline",
    "telemetry",
    "datasette",
    "doctor",
}


def samples(name: str) -> list[str]:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    return [textwrap.dedent(one) for one in re.findall(r"^ *```toml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)]


def test_there_is_a_page_for_each() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} >= WANTED


@pytest.mark.parametrize("name", ["access", "okta"])
def test_who_calls_is_set_up_with_documents_that_are_read(name: str) -> None:
    identity, policy = samples(name)
    (issuer,) = parse_identity(PAGES / "identity.toml", identity).issuers
    assert issuer.client is not None, "people can log in"
    assert issuer.audiences
    found = parse_policy(policy, f"{name}.md")
    assert found.enforces
    assert found.budgets
