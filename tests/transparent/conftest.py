"""One lab for the session: building namespaces takes a second, starting a proxy two."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import provider, shared_provider  # noqa: F401 — fixtures for the tests of this folder
from transparent import lab as labs


@pytest.fixture(scope="session")
def lab() -> Iterator[labs.Lab]:
    if reason := labs.missing():
        pytest.skip(f"SKIPPED, NOT PROVED HERE: transparent mode in network namespaces {reason}")
    # Not pytest's own folder: that is root's alone, and here other users must get in.
    with tempfile.TemporaryDirectory(prefix="tollkeeper-lab-") as folder:
        Path(folder).chmod(0o755)
        with labs.built(Path(folder)) as built:
            yield built
