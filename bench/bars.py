"""Draws how far results are from their targets, as an SVG that reads on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from bench.rows import Row

_WIDTH: Final = 930
_LEFT: Final = 510
_RIGHT: Final = 130
_TOP: Final = 60
_STEP: Final = 26
_INK: Final = "#768390"
_MET: Final = "#3fb950"
_NOT_MET: Final = "#d29922"
_LOWEST: Final = 0.01
_HIGHEST: Final = 10.0


def bars(rows: Sequence[Row], *, title: str) -> str:
    """Return a bar for each row that has a target: from the left up to how much of it is reached.

    The axis is logarithmic; what is beyond its ends is drawn at them.
    """
    wanted = [(each, each.share) for each in rows if each.share is not None]
    height = _TOP + _STEP * len(wanted) + 20
    box = f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="20" font-size="14">{escape(title)}</text>',
    ]
    for share, label in ((0.01, "1 %"), (0.1, "10 %"), (1.0, "target"), (10.0, "10 times")):
        x = _across(share)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 16}" stroke="{_INK}"'
            f' stroke-opacity="{0.9 if share == 1 else 0.25}"/>'
            f'<text x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">{label}</text>'
        )
    for number, (each, share) in enumerate(wanted):
        parts.append(_bar(each, share, _TOP + _STEP * number))
    return "\n".join([*parts, "</svg>", ""])


def _bar(row: Row, share: float, top: float) -> str:
    end = _across(share)
    what = row.case if row.channel == row.scenario else f"{row.channel}: {row.case}"
    against = f", against {row.baseline}" if row.baseline and "measured" not in row.target else ""
    value = row.measured if "measured" in row.target else row.ratio or 0
    told = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
    return (
        f'<text x="{_LEFT - 8}" y="{top + 14}" text-anchor="end">'
        f"{escape(row.scenario)}, {escape(what)}{escape(against)}</text>"
        f'<rect x="{_LEFT}" y="{top + 2}" width="{max(1.0, end - _LEFT):.1f}" height="16"'
        f' fill="{_MET if row.met == "yes" else _NOT_MET}"/>'
        f'<text x="{_WIDTH - _RIGHT + 8}" y="{top + 14}">{told} '
        f"({escape(row.target.removesuffix(' measured'))})</text>"
    )


def _across(share: float) -> float:
    """Return where a share of a target is."""
    low, high = math.log10(_LOWEST), math.log10(_HIGHEST)
    at = (math.log10(min(max(share, _LOWEST), _HIGHEST)) - low) / (high - low)
    return _LEFT + at * (_WIDTH - _RIGHT - _LEFT)
