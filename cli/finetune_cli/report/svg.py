"""Charts as SVG text. Pure: numbers in, markup out; colours are CSS classes of the report's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from finetune_cli.figures import number

Point = tuple[float, float]
WIDTH, HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 40


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from values to a share between 0 and 1."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], log: bool | None = None) -> Axis:
        """The scale that holds all values; logarithmic if asked for, or if they span more than a decade or so."""
        low, high = min(values), max(values)
        if log is None:
            log = low > 0 and high / low > 20
        if low == high:
            pad = abs(low) * 0.1 or 1.0
            low, high = (low / 2, high * 2) if log else (low - pad, high + pad)
        return cls(low, high, log)

    def share(self, value: float) -> float:
        """Where a value lies."""
        f: Callable[[float], float] = math.log10 if self.log else lambda v: v
        return (f(value) - f(self.low)) / (f(self.high) - f(self.low))

    def ticks(self) -> list[float]:
        """About five round values within."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            decades = [10.0**e for e in range(first, last + 1, max(1, (last - first) // 5))]
            return decades if len(decades) > 1 else [self.low, self.high]
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step = next(step * m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= 5.5)
        first = math.ceil(self.low / step - 1e-9)
        return [first * step + i * step for i in range(12) if first * step + i * step <= self.high + step * 1e-9]


def _x(axis: Axis, value: float) -> float:
    return round(_LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM), 1)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> str:
    out = []
    for tick in y.ticks():
        at = _y(y, tick)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        out.append(_text("tick", _LEFT - 6, at + 4, number(tick), "end"))
    for tick in x.ticks():
        at = _x(x, tick)
        out.append(_text("tick", at, HEIGHT - _BOTTOM + 16, number(tick)))
    out.append(_text("label", WIDTH / 2, HEIGHT - 6, x_label))
    out.append(f'<g transform="translate(12 {HEIGHT / 2}) rotate(-90)">{_text("label", 0, 0, y_label)}</g>')
    return "".join(out)


def _text(kind: str, x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, body: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    text = escape(title)
    return Markup(  # noqa: S704  # every text within has been escaped
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text}"><title>{text}</title>{body}</svg>'
    )


def scatter(points: Sequence[tuple[float, float, str]], x_label: str, y_label: str, best: int | None = None) -> Markup:
    """Points (x, y, name); the best one is marked."""
    if not points:
        return Markup("")
    x, y = Axis.of([p[0] for p in points]), Axis.of([p[1] for p in points], log=False)
    body = _frame(x, y, x_label, y_label)
    for place, (a, b, name) in enumerate(points):
        kind = ' class="best" r="6"' if place == best else ' class="point" r="3.5"'
        title = f"<title>{escape(name)}: {number(a)}, {number(b)}</title>"
        body += f'<circle cx="{_x(x, a)}" cy="{_y(y, b)}"{kind}>{title}</circle>'
    return _svg(f"{y_label} by {x_label}", body)


def lines(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> Markup:
    """Lines by name; the first is drawn strongest."""
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    if not drawn:
        return Markup("")
    every = [point for points in drawn.values() for point in points]
    x, y = Axis.of([p[0] for p in every], log=False), Axis.of([p[1] for p in every], log=False)
    body = _frame(x, y, x_label, y_label)
    for place, (name, points) in reversed(list(enumerate(drawn.items()))):
        path = " ".join(f"{_x(x, a)},{_y(y, b)}" for a, b in points)
        kind = "first" if place == 0 else "other"
        body += f'<polyline class="{kind}" points="{path}"><title>{escape(name)}</title></polyline>'
    return _svg(f"{y_label} by {x_label}", body)


def before_after(rows: Sequence[tuple[str, float | None, float | None]], label: str) -> Markup:
    """Two bars for each row (name, before, after)."""
    if not rows:
        return Markup("")
    most = max([v for _, *pair in rows for v in pair if v is not None] or [1.0]) or 1.0
    left, width, step = 120, 420, 44
    body = ""
    for place, (name, before, after) in enumerate(rows):
        top = place * step + 6
        body += _text("tick", left - 8, top + 20, name[:20], "end")
        for offset, (value, kind) in enumerate(((before, "before"), (after, "after"))):
            if value is not None:
                length = round(value / most * (width - left - 60), 1)
                y = top + offset * 16
                body += f'<rect class="{kind}" x="{left}" y="{y}" width="{length}" height="13" rx="2"/>'
                body += _text("tick", left + length + 5, y + 11, f"{value * 100:.1f}%", "start")
    return _svg(label, body, width, len(rows) * step + 6)


def parallel(
    rows: Sequence[tuple[Mapping[str, Any], float]], keys: Sequence[str], metric: str, minimise: bool = True
) -> Markup:
    """One line for each run through its hyperparameters to its metric; the better, the stronger."""
    if len(rows) < 2 or not keys:
        return Markup("")
    scales = [_category([values.get(key) for values, _ in rows]) for key in keys] + [_category([m for _, m in rows])]
    width, height, top, bottom = max(420, 130 * len(scales)), 280, 36, 28
    xs = [60 + (width - 120) * i / (len(scales) - 1) for i in range(len(scales))]
    low, high = min(m for _, m in rows), max(m for _, m in rows)
    body = ""

    def y(share: float) -> float:
        return round(height - bottom - share * (height - top - bottom), 1)

    def goodness(value: float) -> float:
        if high == low:
            return 1.0
        return ((high - value) if minimise else (value - low)) / (high - low)

    ordered = sorted(rows, key=lambda row: goodness(row[1]))
    for place, (values, value) in enumerate(ordered):
        shares = [scale[0](values.get(key)) for key, scale in zip(keys, scales, strict=False)] + [scales[-1][0](value)]
        path = " ".join(f"{x:.1f},{y(share)}" for x, share in zip(xs, shares, strict=True) if share is not None)
        kind = "winner" if place == len(ordered) - 1 else "run"
        body += f'<polyline class="{kind}" style="opacity:{0.15 + 0.8 * goodness(value) ** 3:.2f}" points="{path}"/>'
    for x, name, scale in zip(xs, [*keys, metric], scales, strict=True):
        body += f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y(0)}" y2="{y(1)}"/>'
        body += _text("label", x, 16, name)
        for text, share in scale[1]:
            at = y(share) + (14 if share < 0.01 else -5 if share > 0.99 else 4)
            body += _text("tick", x, at, text)
    return _svg(f"{metric} by hyperparameters", body, width, height)


def _category(values: Sequence[Any]) -> tuple[Callable[[Any], float | None], list[tuple[str, float]]]:
    """A scale for numbers, or for texts in alphabetical order, with its ticks."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        axis = Axis.of(present)
        low, high = min(present), max(present)
        ticks = [(number(low), axis.share(low))] + ([(number(high), axis.share(high))] if high > low else [])
        return (lambda value: None if value is None else axis.share(value)), ticks
    kinds = sorted({str(value) for value in present})
    places = {kind: i / (len(kinds) - 1) if len(kinds) > 1 else 0.5 for i, kind in enumerate(kinds)}
    return (lambda value: None if value is None else places[str(value)]), list(places.items())
