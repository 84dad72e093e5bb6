"""Charts as SVG text: no script, no font, no resource from elsewhere. Colours are CSS variables with a fallback, for a page to set.

Every chart has a title and a description for screen readers; what it shows stands in a table beside it as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 420
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 24
MAX_TICKS = 4

STYLE = (
    ".ax{stroke:var(--line,#8886);stroke-width:1}.lb{font:11px system-ui,sans-serif;fill:var(--soft,#57606a)}"
    ".nm{font:12px system-ui,sans-serif;fill:var(--text,#1f2328)}.b1{fill:var(--c1,#0969da)}.b2{fill:var(--c2,#8250df)}"
    ".l1{stroke:var(--c1,#0969da);stroke-width:2;fill:none}.l2{stroke:var(--c2,#8250df);stroke-width:2;fill:none;stroke-dasharray:5 4}"
    ".l3{stroke:var(--bad,#cf222e);stroke-width:1.5;stroke-dasharray:2 3;fill:none}"
)


@dataclass(frozen=True, slots=True)
class Point:
    """One figure of a chart: its name, its value (None is unknown, and drawn as a gap), and the value in words."""

    name: str
    value: int | None
    shown: str


def columns(title: str, points: Sequence[Point], axis: Callable[[int], str], height: int = 190) -> str:
    """Upright bars over a run of days or hours."""
    top = max((point.value or 0 for point in points), default=0)
    body = [*_grid(top, axis, height)]
    step = (WIDTH - LEFT - RIGHT) / max(1, len(points))
    for place, point in enumerate(points):
        x = LEFT + place * step
        size = _scaled(point.value or 0, top, height - TOP - BOTTOM)
        body.append(
            f'<rect class="b1" x="{x + step * 0.1:.1f}" y="{height - BOTTOM - size:.1f}" width="{max(0.8, step * 0.8):.1f}"'
            f' height="{size:.1f}"><title>{escape(point.name)}: {escape(point.shown)}</title></rect>'
        )
    body += _names(points, step, height)
    return _svg(title, _said(points), body, height)


def lines(title: str, points: Sequence[Point], axis: Callable[[int], str], top: int | None = None, height: int = 190) -> str:
    """A line over a run of days; an unknown value breaks it."""
    top = max((point.value or 0 for point in points), default=0) if top is None else top
    body = [*_grid(top, axis, height), *(f'<path class="l1" d="{path}"/>' for path in _paths(points, top, height))]
    step = (WIDTH - LEFT - RIGHT) / max(1, len(points))
    body += _dots(points, top, height)
    body += _names(points, step, height)
    return _svg(title, _said(points), body, height)


def burn_down(title: str, spent: Sequence[Point], amount: int, ahead: int, axis: Callable[[int], str], height: int = 190) -> str:
    """What is left of a budget from day to day, its amount shared out evenly (dashed), and ``ahead`` further days of its window."""
    days = len(spent) + ahead
    left = [Point(point.name, amount - (point.value or 0), point.shown) for point in spent]
    body = [*_grid(amount, axis, height)]
    step = (WIDTH - LEFT - RIGHT) / max(1, days)
    bottom = height - BOTTOM
    body.append(f'<path class="l2" d="M{LEFT} {TOP}L{LEFT + step * days:.1f} {bottom}"><title>spent evenly</title></path>')
    places = [f"{LEFT + (place + 1) * step:.1f} {bottom - _scaled(max(0, point.value or 0), amount, bottom - TOP):.1f}"
              for place, point in enumerate(left)]  # fmt: skip
    body.append(f'<path class="l1" d="M{LEFT} {TOP}L{" L".join(places)}"/>' if places else "")
    body += _names([*spent, *(Point("", None, "") for _ in range(ahead))], step, height)
    return _svg(title, _said(spent), body, height)


def bars(title: str, points: Sequence[Point]) -> str:
    """Lying bars, the name above and the value behind each: readable on a phone."""
    top = max((point.value or 0 for point in points), default=0)
    row = 34
    body = []
    for place, point in enumerate(points):
        y = place * row
        size = _scaled(point.value or 0, top, WIDTH - 4)
        body.append(f'<text class="nm" x="2" y="{y + 13}">{escape(_cut(point.name, 44))}</text>')
        body.append(f'<text class="lb" x="{WIDTH - 2}" y="{y + 13}" text-anchor="end">{escape(point.shown)}</text>')
        body.append(f'<rect class="b1" x="2" y="{y + 18}" width="{size:.1f}" height="8" rx="2"/>')
    return _svg(title, _said(points), body, max(row, row * len(points)))


def heat(title: str, rows: Sequence[str], heads: Sequence[str], cells: Sequence[Sequence[Point | None]]) -> str:
    """A grid of squares, darker for more; every square says its value."""
    values = [cell.value or 0 for row in cells for cell in row if cell is not None]
    top, wide = max(values, default=0), len(heads)
    left, size = 34, (WIDTH - 34 - 4) / max(1, wide)
    tall = min(size, 24.0)
    body = []
    for place, head in enumerate(heads):
        if head:
            body.append(f'<text class="lb" x="{left + place * size:.1f}" y="10">{escape(head)}</text>')
    for line, (name, row) in enumerate(zip(rows, cells, strict=True)):
        y = 16 + line * tall
        body.append(f'<text class="lb" x="0" y="{y + tall * 0.7:.1f}">{escape(name)}</text>')
        for place, cell in enumerate(row):
            if cell is None:
                continue
            shade = 0.0 if not cell.value or not top else 0.2 + 0.8 * min(1.0, (cell.value / top) ** 0.5)
            fill = f'class="b1" fill-opacity="{shade:.2f}"' if shade else 'fill="none" class="ax"'
            body.append(
                f'<rect {fill} x="{left + place * size + 0.5:.1f}" y="{y + 0.5:.1f}" width="{size - 1.5:.1f}" height="{tall - 1.5:.1f}"'
                f' rx="2"><title>{escape(cell.name)}: {escape(cell.shown)}</title></rect>'
            )
    said = [cell for row in cells for cell in row if cell is not None and cell.value]
    return _svg(title, _said(sorted(said, key=lambda cell: -(cell.value or 0))[:5]), body, int(20 + tall * len(rows)))


def standalone(svg: str, background: str = "#ffffff") -> str:
    """A chart as a file of its own, with its style and a background."""
    style = f"<style>{STYLE}</style><rect width='100%' height='100%' fill='{background}'/>"
    head, _, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def _svg(title: str, said: str, body: Sequence[str], height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
        f"<desc>{escape(said)}</desc>{''.join(body)}</svg>"
    )


def _grid(top: int, axis: Callable[[int], str], height: int) -> list[str]:
    found = []
    room = height - TOP - BOTTOM
    for tick in range(MAX_TICKS + 1) if top else (0,):
        value = top * tick // MAX_TICKS
        y = height - BOTTOM - room * tick / MAX_TICKS
        found.append(f'<path class="ax" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        found.append(f'<text class="lb" x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{escape(axis(value))}</text>')
    return found


def _names(points: Sequence[Point], step: float, height: int) -> list[str]:
    """As many names under the axis as fit."""
    every = max(1, round(60 / step) if step < 60 else 1)
    return [
        f'<text class="lb" x="{LEFT + place * step:.1f}" y="{height - 8}">{escape(point.name)}</text>'
        for place, point in enumerate(points)
        if place % every == 0 and point.name and LEFT + place * step < WIDTH - 40
    ]


def _paths(points: Sequence[Point], top: int, height: int) -> list[str]:
    step = (WIDTH - LEFT - RIGHT) / max(1, len(points))
    runs: list[list[str]] = [[]]
    for place, point in enumerate(points):
        if point.value is None:
            runs.append([])
            continue
        y = height - BOTTOM - _scaled(point.value, top, height - TOP - BOTTOM)
        runs[-1].append(f"{LEFT + (place + 0.5) * step:.1f} {y:.1f}")
    return [f"M{' L'.join(run)}" for run in runs if len(run) > 1]


def _dots(points: Sequence[Point], top: int, height: int) -> list[str]:
    step = (WIDTH - LEFT - RIGHT) / max(1, len(points))
    return [
        f'<circle class="b1" cx="{LEFT + (place + 0.5) * step:.1f}"'
        f' cy="{height - BOTTOM - _scaled(point.value, top, height - TOP - BOTTOM):.1f}" r="2.5">'
        f"<title>{escape(point.name)}: {escape(point.shown)}</title></circle>"
        for place, point in enumerate(points)
        if point.value is not None
    ]


def _scaled(value: int, top: int, room: float) -> float:
    return room * min(value, top) / top if top else 0.0


def _said(points: Sequence[Point]) -> str:
    shown = [f"{point.name} {point.shown}" for point in points if point.name][:40]
    return "; ".join(shown)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
