"""Pinned upstream addresses."""

import pytest

from tollkeeper.core.errors import ConfigError
from tollkeeper.proxy.resolve import parse_pins


def test_pins_are_read_like_curl_resolve() -> None:
    assert parse_pins("API.openai.com:443=127.0.0.1:9443, a.test:1=[::1]:2") == {
        ("api.openai.com", 443): ("127.0.0.1", 9443),
        ("a.test", 1): ("::1", 2),
    }


def test_no_pins_is_no_mapping() -> None:
    assert parse_pins("") == {}


@pytest.mark.parametrize("bad", ["api.openai.com", "a:1=b", "a:1=b:99999", "=b:1", "a:x=b:1"])
def test_a_bad_pin_is_named_with_an_example(bad: str) -> None:
    with pytest.raises(ConfigError, match="write it like"):
        parse_pins(bad)
