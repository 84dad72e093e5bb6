"""No identity header, cookie or own header reaches a provider, and malformed headers are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.identity.channels import STRIPPED_HEADERS
from tollkeeper.proxy.headers import MAX_HEADER_BYTES, ascii_target, fault, is_bound, strip, without_tags


def test_every_identity_header_is_removed_whatever_its_case() -> None:
    fields = tuple((name.upper().encode(), b"secret") for name in sorted(STRIPPED_HEADERS))
    assert strip((*fields, (b"X-Api-Key", b"theirs"))) == ((b"X-Api-Key", b"theirs"),)


def test_our_own_and_forwarded_headers_are_removed() -> None:
    assert strip(((b"X-Tollkeeper-Rule", b"r"), (b"x-forwarded-for", b"10.0.0.1"))) == ()


def test_access_cookies_are_cut_out_and_the_others_stay() -> None:
    cookie = b"a=1; CF_Authorization=eyJ0; b=2; CF_AppSession=x"
    assert strip(((b"cookie", cookie),)) == ((b"cookie", b"a=1; b=2"),)


def test_a_cookie_header_of_access_cookies_alone_disappears() -> None:
    assert strip(((b"cookie", b"CF_Authorization=eyJ0"),)) == ()


@given(st.lists(st.tuples(st.sampled_from([b"accept", b"x-api-key", b"anthropic-version"]), st.binary(max_size=20))))
def test_all_other_fields_keep_their_order_and_bytes(fields: list[tuple[bytes, bytes]]) -> None:
    assert strip(tuple(fields)) == tuple(fields)


def test_labels_for_cloudflares_gateway_leave_for_cloudflare_alone() -> None:
    accept, labels = (b"accept", b"*/*"), (b"CF-AIG-Metadata", b'{"user": "ada"}')
    for provider in ("cloudflare-gateway", "workers-ai"):
        assert without_tags((accept, labels), provider) == ((accept, labels), ())
    for other in ("anthropic", None):
        assert without_tags((accept, labels), other) == ((accept,), (labels,))


def test_control_characters_in_a_value_are_refused_by_name_without_the_value() -> None:
    reason = fault([(b"x-note", b"a\rsecret")])
    assert reason is not None
    assert "x-note" in reason
    assert "secret" not in reason


def test_a_header_block_beyond_the_bound_is_refused_with_both_numbers() -> None:
    reason = fault([(b"x-big", b"a" * MAX_HEADER_BYTES)])
    assert reason == f"headers of {MAX_HEADER_BYTES + 5} bytes, more than the {MAX_HEADER_BYTES} allowed"


def test_ordinary_headers_are_no_fault() -> None:
    assert fault([(b"accept", b"text/event-stream")]) is None


@pytest.mark.parametrize(
    ("host", "authorization", "bound"),
    [
        ("api.anthropic.com", b"Bearer sk-ant-oat01-abc", True),
        ("api.anthropic.com", b"Bearer sk-ant-api03-abc", False),
        ("bedrock-runtime.us-east-1.amazonaws.com", b"AWS4-HMAC-SHA256 Credential=x", True),
        ("chatgpt.com", b"Bearer x", True),
        ("api.openai.com", b"Bearer sk-x", False),
    ],
)
def test_signed_and_subscription_bodies_are_never_changed(host: str, authorization: bytes, bound: bool) -> None:
    assert is_bound(host, [(b"Authorization", authorization)]) is bound


def test_raw_bytes_in_a_target_become_percent_signs_and_all_else_stays() -> None:
    assert ascii_target("/v1/chat/completions?a=%20b") == "/v1/chat/completions?a=%20b"
    assert ascii_target(b"/v1/\xff\xc3\xa9".decode("utf-8", "surrogateescape")) == "/v1/%FF%C3%A9"
