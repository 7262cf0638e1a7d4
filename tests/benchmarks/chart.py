"""A bar chart as SVG, written by hand: it needs no library, and a diff of it can be read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _BAR, _GAP, _TOP = 760, 150, 18, 6, 46
_OURS, _OTHERS = "#1f6feb", "#8b949e"


@dataclass(frozen=True)
class Panel:
    """Bars with a scale of their own."""

    title: str
    bars: Sequence[tuple[str, float]]
    """Label and value."""


def svg(title: str, unit: str, panels: Sequence[Panel], ours: Collection[str] = ()) -> str:
    """The chart as a document, the bars labelled `ours` in colour; panels without bars are left out."""
    parts: list[str] = []
    y = _TOP
    for panel in panels:
        if not panel.bars:
            continue
        parts.append(f'<text x="12" y="{y + 14}" class="panel">{escape(panel.title)}</text>')
        y += 26
        largest = max(value for _, value in panel.bars) or 1.0
        for label, value in panel.bars:
            length = value / largest * (_WIDTH - _LABELS - 130)
            colour = _OURS if label in ours else _OTHERS
            parts += [
                f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{_LABELS}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
                f'<text x="{_LABELS + length + 6:.1f}" y="{y + 13}">{value:,.0f} {escape(unit)}</text>',
            ]
            y += _BAR + _GAP
        y += 14
    style = 'role="img" font-family="system-ui, sans-serif" font-size="12" fill="#1f2328"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" {style}>',
            f"<title>{escape(title)}</title>",
            "<style>.panel { font-weight: 600 } .title { font-size: 15px; font-weight: 600 }</style>",
            f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>',
            f'<text x="12" y="26" class="title">{escape(title)}</text>',
            *parts,
            "</svg>",
            "",
        ]
    )
