"""Charts: whatever the figures, the picture stays inside its frame and is well-formed."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.report import charts
from tollkeeper.report.charts import Point

values = st.one_of(st.none(), st.integers(0, 10**15))
points = st.lists(st.builds(Point, st.text(max_size=20), values, st.text(max_size=20)), max_size=60)


def words(value: int) -> str:
    return f"${value}"


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", "?", svg))


@given(shown=points)
def test_any_figures_make_a_well_formed_chart_inside_its_frame(shown: list[Point]) -> None:
    for svg in (charts.columns("t", shown, words), charts.lines("t", shown, words), charts.bars("t", shown)):
        root = parsed(svg)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for box in root.iter("rect"):
            assert 0 <= float(box.attrib["y"]) <= height
            assert float(box.attrib["height"]) >= 0
            assert float(box.attrib["x"]) + float(box.attrib["width"]) <= width + 1


@given(shown=points, amount=st.integers(1, 10**13), ahead=st.integers(0, 31))
def test_a_burn_down_never_leaves_its_frame(shown: list[Point], amount: int, ahead: int) -> None:
    root = parsed(charts.burn_down("t", shown, amount, ahead, words))
    for path in root.iter("path"):
        heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", path.attrib["d"])]
        assert all(0 <= y <= 190 for y in heights)


def test_an_unknown_value_breaks_a_line_and_is_no_zero() -> None:
    svg = charts.lines(
        "t", [Point("a", 5, "5"), Point("b", 6, "6"), Point("c", None, "–"), Point("d", 5, "5"), Point("e", 4, "4")], words
    )
    assert svg.count('class="l1"') == 2
    assert svg.count("<circle") == 4


def test_a_chart_as_a_file_has_its_own_style_and_fetches_nothing() -> None:
    svg = charts.standalone(charts.bars("t", [Point("a", 1, "1")]))
    assert ET.fromstring(svg.partition("\n")[2]).tag.endswith("svg")
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("share", [0, 1])
def test_a_heat_map_leaves_out_what_is_not_there(share: int) -> None:
    cells = [[Point("a", 10 * share, "$10"), None], [None, Point("b", 3, "$3")]]
    svg = charts.heat("t", ["x", "y"], ["1", "2"], cells)
    assert svg.count("<rect") == 2
    assert "b: $3" in svg
