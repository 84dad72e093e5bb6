"""The HTML report is one file: nothing is fetched, nothing runs, and it can be read by machine, by ear and on a phone."""

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from ledger.samples import NOW, FakeClock, ask_for, make_call, settled
from tollkeeper.ledger.ledger import Ledger
from tollkeeper.report.html import report_html
from tollkeeper.report.overview import read_overview

VOID = {"meta", "link", "br", "path", "rect", "circle"}


class Reader(HTMLParser):
    """Checks that tags nest, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def page(path: Path) -> str:
    overview = read_overview(path, by=("principal", "model"), since=None, until=None, zone="UTC", policy=None, at=NOW)
    return report_html(overview, "AI <spend>", NOW)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_nothing_is_fetched_and_nothing_runs(path: Path) -> None:
    html = page(path)
    reader = read(html)
    assert not {tag for tag, _ in reader.tags} & {"script", "iframe", "object", "embed", "img", "form"}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    addresses = re.findall(r"(?:href=|src=|url\()\s*[\"']?([^\"')\s>]+)", html)
    assert [address for address in addresses if not address.startswith(("data:,", "#"))] == []
    assert "://" not in html
    assert "default-src 'none'" in html


def test_it_has_landmarks_a_heading_order_and_a_language(path: Path) -> None:
    reader = read(page(path))
    count = Counter(tag for tag, _ in reader.tags)
    assert (count["header"], count["main"], count["footer"], count["h1"]) == (1, 1, 1, 1)
    assert ("html", {"lang": "en"}) in reader.tags
    headings = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(headings))
    viewport = [attributes["content"] for tag, attributes in reader.tags if attributes.get("name") == "viewport"]
    assert viewport == ["width=device-width, initial-scale=1"]


def test_every_chart_is_said_in_words_and_every_table_has_headings(path: Path) -> None:
    html = page(path)
    charts = [attributes for tag, attributes in read(html).tags if tag == "svg"]
    assert len(charts) >= 6
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)
    assert html.count("<desc>") == len(charts)
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        assert 'scope="col"' in table
        assert 'scope="row"' in table
    regions = [attributes for tag, attributes in read(html).tags if attributes.get("role") == "region"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in regions)


def test_names_from_clients_stay_text(tmp_path: Path) -> None:
    path, clock = tmp_path / "ledger.db", FakeClock()
    ledger = Ledger.open(path, clock)
    call = make_call(NOW, subject='<img src=x onerror="alert(1)">', model="</svg><script>")
    ledger.admit_now(ask_for(call, 10**9))
    ledger.settle_now(settled(call, 10**9))
    ledger.close_now()
    html = page(path)
    reader = read(html)
    assert "img" not in {tag for tag, _ in reader.tags}
    assert "<script" not in html
    assert '<img src=x onerror="alert(1)">' in reader.text


def test_unknown_is_a_dash_and_the_gaps_are_named(path: Path) -> None:
    text = read(page(path)).text
    assert "What is missing from these figures" in text
    assert "without a known price" in text
    assert "~$1.24 + –" in text


@pytest.mark.parametrize("scheme", ["#ffffff", "#0d1117"])
def test_colours_have_enough_contrast(path: Path, scheme: str) -> None:
    html = page(path)
    blocks = re.findall(r":root\{(.*?)\}", html, re.DOTALL)
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", blocks[0 if scheme == "#ffffff" else 1]))
    assert _full(colours["bg"]) == scheme
    for name, least in (("text", 7.0), ("soft", 4.5), ("c1", 3.0), ("bad", 3.0)):
        for ground in ("bg", "card"):
            assert _contrast(colours[name], colours[ground]) >= least, (name, ground)


def _full(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(letter * 2 for letter in colour[1:])


def _contrast(one: str, other: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(_full(colour)[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
