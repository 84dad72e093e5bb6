"""How things look: signs beside every colour, colours from the theme, bars and curves that can be read without any."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text

from tollkeeper.ledger.rows import CallRow
from tollkeeper.report.outlook import BudgetLine, Health

_EIGHTHS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Look:
    """A palette and a set of glyphs. Colours are rich styles; no meaning hangs on them alone."""

    good: str = "green"
    warn: str = "bold yellow"
    bad: str = "bold red"
    accent: str = "cyan"
    dim: str = "dim"
    ascii_only: bool = False

    def sign(self, unicode_sign: str) -> str:
        """The sign, or its plain letter where only ASCII may be shown."""
        return _PLAIN.get(unicode_sign, unicode_sign) if self.ascii_only else unicode_sign


def themed(variables: Mapping[str, str], *, ascii_only: bool) -> Look:
    """The colours for signs of a Textual theme: those that can be read on its background, the terminal's own where it has none."""

    def style(name: str, other: str, bold: str = "") -> str:
        value = variables.get(name, "")
        colour = value if value.startswith("#") else value.removeprefix("ansi_") if value.startswith("ansi_") else other
        return f"{bold}{colour}"

    return Look(
        good=style("text-success", "green"),
        warn=style("text-warning", "yellow", "bold "),
        bad=style("text-error", "red", "bold "),
        accent=style("text-primary", "cyan"),
        ascii_only=ascii_only,
    )


_PLAIN = {
    "✓": ".",
    "✗": "x",
    "→": ">",
    "█": "#",
    "▒": "+",
    "░": "-",
    "·": ".",
    "–": "-",
    "│": "|",
    "…": "~",
    "↳": "`",
    "▸": ">",
    "»": ">",
}


def call_sign(row: CallRow) -> tuple[str, str]:
    """``✓ ~ ! ✗ »`` and what it means, in a word or two."""
    if row.kind == "refuse":
        return "✗", "refused"
    if row.verdict == "rewrite":
        return "»", "rewritten"
    if row.usage_source == "unmetered" and row.outcome == "ok":
        return "!", "unmetered"
    if row.kind == "settle" and row.cost_nanousd is None:
        return "!", "crashed" if row.outcome == "crashed" else "no price"
    if row.verdict == "allow" and row.would in {"refuse", "rewrite"}:
        return "!", f"would {row.would}"
    if row.outcome in {"error", "cut", "crashed"}:
        return "!", row.error or row.outcome
    if row.refusal:
        return "!", f"declined: {row.refusal}"
    if row.usage_source in {"counted", "partial"}:
        return "~", "estimated" if row.usage_source == "counted" else "partial"
    return "✓", "plan" if row.plan else "" if row.outcome == "ok" else row.outcome


def sign_style(sign: str, look: Look) -> str:
    """The colour that goes with a sign."""
    return {"✗": look.bad, "!": look.warn, "»": look.accent, "~": look.dim, "✓": look.good}.get(sign, "")


HEALTH_SIGNS = {Health.OK: "✓", Health.HEADING_OVER: "~", Health.NEAR: "!", Health.USED_UP: "✗"}


def health_style(health: Health, look: Look) -> str:
    """The colour of a budget's state."""
    return {Health.OK: look.good, Health.HEADING_OVER: look.accent, Health.NEAR: look.warn, Health.USED_UP: look.bad}[health]


def budget_bar(line: BudgetLine, width: int, look: Look) -> Text:
    """``█`` spent, ``▒`` held, ``░`` free, and ``│`` where the window will end at its present pace."""
    amount = max(1, line.amount_nanousd)
    standing = line.standing
    if standing is None:
        return Text(look.sign("·") * width, style=look.dim)
    used = min(width, _cells(line.used_nanousd, amount, width))
    spent = min(used, _cells(standing.spent_nanousd, amount, width))
    style = health_style(line.health, look)
    text = Text()
    text.append(look.sign("█") * spent, style=style)
    text.append(look.sign("▒") * (used - spent), style=style)
    text.append(look.sign("░") * (width - used), style=look.dim)
    if line.projected_nanousd is not None and line.projected_nanousd > standing.spent_nanousd:
        mark = min(width - 1, line.projected_nanousd * width // amount)
        if mark >= used:
            text = Text.assemble(text[:mark], (look.sign("│"), "bold"), text[mark + 1 :])
    return text


def _cells(part: int, whole: int, width: int) -> int:
    """Cells for a part: at least one for anything at all, all of them only for the whole."""
    cells = part * width // whole
    return max(1, cells) if part > 0 else 0


def plain_bar(part: int, whole: int, width: int, look: Look) -> Text:
    """A share as a bar."""
    cells = min(width, _cells(part, max(1, whole), width))
    return Text.assemble((look.sign("█") * cells, look.accent), (look.sign("░") * (width - cells), look.dim))


def curve(values: list[int], look: Look) -> Text:
    """A sparkline; nothing spent is a low line, and the highest point stands at full height."""
    top = max(values, default=0)
    if look.ascii_only:
        levels = "_.-=+*#%"
        return Text("".join(levels[_level(value, top)] for value in values), style=look.accent)
    return Text("".join(_EIGHTHS[_level(value, top)] for value in values), style=look.accent)


def _level(value: int, top: int) -> int:
    return 0 if top <= 0 or value <= 0 else max(1, value * 7 // top)
