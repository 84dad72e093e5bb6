"""The fake provider, as the end-to-end tests have it."""

from e2e.conftest import provider, shared_provider  # noqa: F401 — fixtures for the tests of this folder
