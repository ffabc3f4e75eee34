"""Draws measurements as an SVG that reads on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_WIDTH: Final = 640
_HEIGHT: Final = 400
_LEFT: Final = 100
_RIGHT: Final = 120
_TOP: Final = 40
_BOTTOM: Final = 50
_COLOURS: Final = ("#2f81f7", "#d29922", "#8b949e", "#3fb950")
_INK: Final = "#768390"


@dataclass(frozen=True, slots=True)
class Line:
    """A named series of points."""

    name: str
    points: Sequence[tuple[float, float]]


def svg(lines: Sequence[Line], *, title: str, x: str, y: str) -> str:
    """Return the lines over logarithmic axes, both from and to a power of ten."""
    across = _Scale([p[0] for line in lines for p in line.points], _LEFT, _WIDTH - _RIGHT)
    up = _Scale([p[1] for line in lines for p in line.points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        f' font-family="sans-serif" font-size="12" fill="{_INK}">',
        f"<title>{title}</title>",
        f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>',
        *_axes(across, up, x, y),
    ]
    latest = max(across(line.points[-1][0]) for line in lines)
    for line, colour in zip(lines, _COLOURS, strict=False):
        at = [(across(px), up(py)) for px, py in line.points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in at]
        end_x, end_y = at[-1]
        # Beside its end; where others go on from there, above and before it.
        ends_early = end_x < latest
        where = (
            f'x="{end_x - 8:.1f}" y="{end_y - 10:.1f}" text-anchor="end"'
            if ends_early
            else f'x="{end_x + 8:.1f}" y="{end_y + 4:.1f}"'
        )
        parts.append(f'<text {where} fill="{colour}">{line.name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(across: _Scale, up: _Scale, x: str, y: str) -> Iterator[str]:
    left, right, bottom, top = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _TOP
    for power in up.powers():
        height = up(power)
        yield (
            f'<line x1="{left}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" '
            f'stroke="{_INK}" stroke-opacity="0.25"/>'
            f'<text x="{left - 8}" y="{height + 4:.1f}" text-anchor="end">{power:,.0f}</text>'
        )
    for power in across.powers():
        at = across(power)
        yield f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{power:,.0f}</text>'
    yield f'<line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="{_INK}"/>'
    yield f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{x}</text>'
    yield f'<text x="{left - 8}" y="{top - 10}" text-anchor="end">{y}</text>'


class _Scale:
    """Where a value lies between two ends of an axis."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(self._low + 1, math.ceil(math.log10(max(values))))
        self._start = start
        self._length = end - start

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * self._length

    def powers(self) -> Iterator[float]:
        for power in range(self._low, self._high + 1):
            yield 10.0**power
