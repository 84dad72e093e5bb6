"""One fake provider for the session, one observing proxy in front of it, and fresh ones where a test changes or ends them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.harness import RunningProxy, running_proxy
from e2e.raw import Caller
from tollkeeper.cli.demo_provider import FakeProvider, background_provider


@pytest.fixture(scope="session")
def shared_provider() -> Iterator[FakeProvider]:
    with background_provider() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: FakeProvider) -> FakeProvider:
    """The session's provider with an empty bill."""
    shared_provider.bills.clear()
    return shared_provider


@pytest.fixture(scope="session")
def observing(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """A proxy without a policy, shared: it meters everything and blocks nothing."""
    with running_proxy(tmp_path_factory.mktemp("observing") / "home", shared_provider) as proxy:
        yield proxy


@pytest.fixture
def proxied(observing: RunningProxy, provider: FakeProvider) -> Caller:
    """Calls through the shared proxy, once every call of before is settled: a body reaches its client a moment before its row the disk."""
    if observing.ledger.path.exists():
        observing.ledger.wait(lambda view: not view.holds(), "the calls of other tests are settled")
    return Caller(provider, observing.bundle, observing.port)


@pytest.fixture
def direct(provider: FakeProvider) -> Caller:
    """Calls straight to the provider."""
    return Caller(provider, provider.authority.root_pem)


@pytest.fixture
def start(provider: FakeProvider, tmp_path: Path) -> Iterator[Callable[..., RunningProxy]]:
    """Starts proxies of the test's own: ``start(policy=…)``, each in a new home unless told."""
    with ExitStack() as stack:
        count = 0

        def begin(*, home: Path | None = None, **options: object) -> RunningProxy:
            nonlocal count
            count += 1
            return stack.enter_context(running_proxy(home or tmp_path / f"home-{count}", provider, **options))

        yield begin
