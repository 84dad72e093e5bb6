"""Where prices come from, in few words."""

from tollkeeper.pricing.shipped import load_pin
from tollkeeper.report.price_words import price_words


def test_every_source_is_named_once_and_the_catalogue_has_its_date() -> None:
    pin = load_pin()
    sources = (f"genai-prices {pin.version}", f"genai-prices {pin.version} + gaps.toml 3846c66d9c5f3e39")
    assert price_words(sources) == f"genai-prices {pin.version} of {pin.date} + gaps.toml 3846c66d"


def test_what_is_not_known_is_named_as_it_is() -> None:
    assert price_words(("genai-prices 0.0.1",)) == "genai-prices 0.0.1"
    assert price_words(()) == "none used"
