"""A seeded ledger, made once: nobody writes to it but through a copy."""

import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from tollkeeper.tui.feed import Feed
from tui.samples import NOW, ZONE

SEEDER = Path(__file__).resolve().parents[2] / "scripts" / "seed_ledger"


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 1,500 calls over six days, the last at ``NOW``."""
    loader = SourceFileLoader("seed_ledger", str(SEEDER))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    # A dollar a day each: so that some are at their amounts, moved to cheaper models, refused.
    module.POLICY = module.POLICY.replace("{day} USD", "1 USD")
    home = tmp_path_factory.mktemp("seeded")
    for _ in module.seed(home, calls=1_500, days=6, until=NOW, number=1, in_flight=3):
        pass
    return home


@pytest.fixture
def home(seeded: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(seeded, tmp_path / "copy"))


@pytest.fixture
def feed(home: Path) -> Feed:
    return Feed(home / "ledger.db", zone=ZONE, clock=lambda: NOW)
