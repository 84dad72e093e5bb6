"""A compressed request is read, and leaves under its own encoding when something in it was changed."""

import json
from collections.abc import Iterator

import pytest

from e2e.harness import RunningProxy, running_proxy
from e2e.raw import SHAPES, Caller
from tollkeeper.cli.demo_provider import FakeProvider
from tollkeeper.wire.framing.encoders import encode_body
from tollkeeper.wire.request import decode_body

pytestmark = pytest.mark.e2e

POLICY = """
schema = 1
mode = "enforce"
[budget.dear]
amount = "0.000001 USD"
window = "day"
model = "gpt-4o"
on_exceed = { rewrite = "gpt-4o-mini" }
"""


@pytest.fixture(scope="module")
def rewriting(shared_provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy(tmp_path_factory.mktemp("compressed") / "home", shared_provider, policy=POLICY) as proxy:
        yield proxy


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "br", "deflate"])
@pytest.mark.parametrize(("asked", "served"), [("gpt-4o", "gpt-4o-mini"), ("gpt-4o-mini", "gpt-4o-mini")])
def test_a_compressed_request_reaches_the_provider_in_its_own_encoding(
    encoding: str, asked: str, served: str, rewriting: RunningProxy, provider: FakeProvider
) -> None:
    shape = SHAPES["chat"]
    body = {**shape.body, "model": asked}
    sent = encode_body(json.dumps(body).encode(), encoding)
    connection = Caller(provider, rewriting.bundle, rewriting.port).connect(shape.host)
    headers = {"content-type": "application/json", "content-encoding": encoding, "authorization": "Bearer sk-test"}
    try:
        connection.request("POST", shape.path, sent, headers)
        connection.getresponse().read()
    finally:
        connection.close()
    (seen,) = provider.bills.seen()
    assert seen.headers["content-encoding"] == encoding
    assert seen.headers["content-length"] == str(len(seen.body))
    assert json.loads(decode_body(seen.body, encoding)) == {**body, "model": served}
    assert (seen.body == sent) is (asked == served)
