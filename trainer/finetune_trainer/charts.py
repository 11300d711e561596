"""Charts that W&B does not draw by itself."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping


def pie_chart(shares: Mapping[str, int], title: str) -> str:
    """A pie chart as a small SVG document: W&B has no chart of this kind of its own.

    Args:
        shares: Count per slice; slices of 0 are left out.
        title: Text above the chart.
    """
    total = sum(shares.values())
    slices, legend, angle = [], [], -math.pi / 2
    filled = [(kind, count) for kind, count in shares.items() if count > 0]
    for place, (kind, count) in enumerate(filled):
        colour = f"hsl({int(360 * place / max(1, len(filled)))} 60% 55%)"
        end = angle + 2 * math.pi * count / total
        if len(filled) == 1:
            slices.append(f'<circle cx="110" cy="130" r="90" fill="{colour}"/>')
        else:
            x1, y1, x2, y2 = (round(v, 2) for v in _arc(angle, end))
            large = int(end - angle > math.pi)
            slices.append(f'<path d="M110 130 L{x1} {y1} A90 90 0 {large} 1 {x2} {y2} Z" fill="{colour}"/>')
        y = 60 + 22 * place
        legend.append(
            f'<rect x="230" y="{y}" width="14" height="14" fill="{colour}"/>'
            f'<text x="252" y="{y + 12}">{html.escape(kind)}: {count} ({count / total:.0%})</text>'
        )
        angle = end
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="480" height="{max(240, 70 + 22 * len(filled))}" '
        f'font-family="sans-serif" font-size="13">'
        f'<text x="10" y="22" font-size="16">{html.escape(title)}</text>{"".join(slices)}{"".join(legend)}</svg>'
    )


def _arc(start: float, end: float) -> tuple[float, float, float, float]:
    return (
        110 + 90 * math.cos(start),
        130 + 90 * math.sin(start),
        110 + 90 * math.cos(end),
        130 + 90 * math.sin(end),
    )
