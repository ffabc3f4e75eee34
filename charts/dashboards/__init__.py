"""The dashboards of Grafana for a mesh: written here as values, imported as the JSON beside them.

`python -m charts.dashboards` writes the JSON anew after a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from charts.dashboards.board import Dashboard
from charts.dashboards.operators import OPERATORS
from charts.dashboards.triggers import TRIGGERS

FILES: Final[Mapping[Path, Dashboard]] = {
    Path(__file__).with_name("triggers.json"): TRIGGERS,
    Path(__file__).with_name("operators.json"): OPERATORS,
}


def text(dashboard: Dashboard) -> str:
    """Return what its file has."""
    return json.dumps(dashboard.json(), indent=2) + "\n"
