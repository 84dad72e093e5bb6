"""A provider that is nothing but a row of the host table is read and priced (docs/adding-a-provider.md)."""

from decimal import Decimal

from tollkeeper.core.call import Call
from tollkeeper.core.charge import CostSource
from tollkeeper.gate.hosts import HostTable
from tollkeeper.pricing.book import PriceBook
from tollkeeper.wire.exchange import Exchange, read_exchange
from tollkeeper.wire.providers import PROVIDERS

ANSWER = (
    b'{"id":"1","object":"chat.completion","model":"deepseek/deepseek-r1-0528","choices":[],'
    b'"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}'
)


def test_one_row_of_data_is_a_provider(book: PriceBook) -> None:
    provider = HostTable.load().provider_of("api.novita.ai")
    assert provider == "novita"
    assert provider not in PROVIDERS, "it must need no line in the wire room"
    exchange = Exchange(
        id="x",
        method="POST",
        url="https://api.novita.ai/openai/v1/chat/completions",
        request_body=b'{"model":"deepseek/deepseek-r1-0528","messages":[]}',
        status=200,
        response_headers={"content-type": "application/json"},
        response_body=ANSWER,
    )

    endpoint, ask, reading = read_exchange(exchange, provider)
    bill = book.bill(Call(id="x", started_at=1_795_348_800_000_000, endpoint=endpoint, ask=ask), reading)

    line = bill.lines[0]
    assert (line.usage.input_tokens, line.usage.output_tokens) == (1000, 100)
    assert line.source is CostSource.COMPUTED
    assert {charge.unit: charge.rate_usd * 1_000_000 for charge in line.charges} == {
        "input_tokens": Decimal("0.70"),  # novita.ai/pricing, as the catalogue quotes it
        "output_tokens": Decimal("2.50"),
    }
