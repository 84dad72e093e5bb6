"""The fake provider's bill: what a test clears stays cleared, however late a call of before comes to its end."""

from tollkeeper.cli.demo_provider.bill import Billed, Bills, SeenRequest

REQUEST = SeenRequest(host="api.openai.com", method="POST", path="/v1/chat/completions", headers={}, body=b"{}")
CALL = Billed(
    id="a", provider="openai", model="gpt-4o", input_tokens=1, cache_read_tokens=0, cache_write_5m_tokens=0, cache_write_1h_tokens=0,
    output_tokens=1, reasoning_tokens=0, web_search_requests=0, streamed=False,
)  # fmt: skip


def test_a_call_from_before_the_bill_was_cleared_is_not_on_the_new_one() -> None:
    bills = Bills()
    before = bills.see(REQUEST)
    bills.clear()
    now = bills.see(REQUEST)
    bills.add(CALL, before)
    assert bills.billed() == []
    bills.add(CALL, now)
    bills.add(CALL)
    assert bills.billed() == [CALL, CALL]
