"""What the chart carries of the folders beside it: the alerts and the dashboards.

helm reads and packages nothing but what is in the chart's own folder, and follows no links there.
`python -m charts.carried --write` copies them anew after a change.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CHARTS: Final = Path(__file__).parent
_FILES: Final = _CHARTS / "cemesh" / "files"

COPIES: Final[Mapping[Path, Path]] = {
    _FILES / "cemesh.rules.yaml": _CHARTS / "alerts" / "cemesh.rules.yaml",
    **{
        _FILES / "dashboards" / board.name: board
        for board in sorted((_CHARTS / "dashboards").glob("*.json"))
    },
}
"""The files in the chart, each with what it is a copy of."""


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m charts.carried --write")
    for copy, original in COPIES.items():
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(original.read_bytes())
