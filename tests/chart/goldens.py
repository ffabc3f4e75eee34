"""The main shapes, rendered and kept, so that a change of the chart is seen as what it changes.

`python -m tests.chart.goldens --write` writes them anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.chart.rendering import SHAPES, template

FOLDER: Final = Path(__file__).with_name("golden")

FILES: Final[Mapping[str, Path]] = {
    name: FOLDER / f"{name}.yaml" for name in ("single", "split-kafka", "kubernetes", "everything")
}


def settled(text: str) -> str:
    """Return what helm prints without blank lines: it depends on its version how many there are."""
    return "".join(line for line in text.splitlines(keepends=True) if line.strip())


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit("usage: python -m tests.chart.goldens --write [HELM]")
    helm = Path(sys.argv[2] if len(sys.argv) > 2 else ".kubernetes/bin/helm")
    FOLDER.mkdir(exist_ok=True)
    for name, file in FILES.items():
        file.write_text(settled(template(helm, SHAPES[name])))
