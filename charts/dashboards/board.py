"""A dashboard: its variables, and its rows of panels, as Grafana 11 imports it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from charts.dashboards.panels import DATASOURCE, Json, Panel, Text

RUNBOOKS: Final = "docs/runbooks"
"""Where the runbooks are, until somebody says where they are published."""

_COLUMNS: Final = 24
_SCHEMA: Final = 39  # of Grafana 11; later ones take it over by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """What is chosen at the top: a value of the query, of which ``regex`` says what is kept.

    With ``all``, which is the regular expression for every value, any number can be chosen.
    """

    name: str
    label: str
    query: str
    regex: str = ""
    all: str | None = None

    def json(self) -> Json:
        every: Json = {"selected": True, "text": ["All"], "value": ["$__all"]}
        return {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": DATASOURCE,
            "definition": self.query,
            "query": {"query": self.query, "refId": self.name},
            "regex": self.regex,
            "refresh": 2,  # with the time range: what is new is there
            "sort": 1,
            "multi": self.all is not None,
            "includeAll": self.all is not None,
            "allValue": self.all,
            "current": {} if self.all is None else every,
            "options": [],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under a title. They stand side by side until the width is used up."""

    title: str
    panels: Sequence[Panel | Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard. In its queries, ``{OF`` stands for ``{`` and ``of``: what has been chosen."""

    uid: str
    title: str
    description: str
    of: str
    variables: Sequence[Variable]
    rows: Sequence[Row]

    def json(self) -> Json:
        """Return what Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["cemesh"],
            "schemaVersion": _SCHEMA,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,  # one crosshair in all panels
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "links": [_OTHERS],
            "annotations": {"list": []},
            "templating": {"list": [_SOURCE, *(each.json() for each in self.variables), _PAGES]},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        number = top = 0
        for row in self.rows:
            number += 1
            yield _heading(row.title, number, top)
            top += 1
            left = tallest = 0
            for panel in row.panels:
                if left + panel.width > _COLUMNS:
                    left, top, tallest = 0, top + tallest, 0
                number += 1
                place: Json = {"x": left, "y": top, "w": panel.width, "h": panel.height}
                yield {"id": number, "gridPos": place, **panel.json(of=self.of)}
                left, tallest = left + panel.width, max(tallest, panel.height)
            top += tallest


def _heading(title: str, number: int, top: int) -> Json:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
        "panels": [],
    }


_OTHERS: Final[Json] = {
    "type": "dashboards",
    "title": "cemesh",
    "tags": ["cemesh"],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
}

_SOURCE: Final[Json] = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "regex": "",
    "refresh": 1,
    "multi": False,
    "includeAll": False,
    "current": {},
    "options": [],
}

_PAGES: Final[Json] = {
    "name": "runbooks",
    "label": "Runbooks",
    "type": "textbox",
    "query": RUNBOOKS,
    "current": {"text": RUNBOOKS, "value": RUNBOOKS},
    "options": [{"selected": True, "text": RUNBOOKS, "value": RUNBOOKS}],
}
