"""The panels of a dashboard, of the kinds that Grafana brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Json = dict[str, "Json"] | list["Json"] | str | float | bool | None
Object = dict[str, Json]

Kind = Literal["timeseries", "stat", "table", "state-timeline"]

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question to Prometheus.

    ``legend`` names its series, with labels as ``{{label}}``; of a table, its column, whose
    ``unit`` may be another than the panel's.
    """

    expr: str
    legend: str = ""
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a click on a series leads, or, of a table, on what is ``within`` that column."""

    title: str
    url: str
    within: str = ""

    def json(self) -> Json:
        return {"title": self.title, "url": self.url, "targetBlank": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a number stands for."""

    text: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What some queries answer.

    ``above`` are the numbers from which on it has another colour; ``states`` what numbers mean, of
    the column ``states_in`` where it is a table. ``runbooks`` are linked to from its title.
    """

    title: str
    description: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    stacked: bool = False
    above: Mapping[int, str] | None = None
    states: Mapping[int, State] | None = None
    states_in: str = ""
    runbooks: Sequence[str] = ()
    link: Link | None = None

    def json(self, *, of: str) -> Object:
        """Return the panel, of which ``{OF`` in queries is what has been chosen."""
        return {
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "links": [_runbook(each) for each in self.runbooks],
            "targets": [
                self._target(chr(ord("A") + number), each, of)
                for number, each in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": _OPTIONS[self.kind],
            "transformations": self._transformations(),
        }

    def _target(self, letter: str, query: Query, of: str) -> Json:
        table = self.kind == "table"
        return {
            "refId": letter,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": " ".join(query.expr.split()).replace("( ", "(").replace("{OF", "{" + of),
            "legendFormat": "__auto" if table or not query.legend else query.legend,
            "format": "table" if table else "time_series",
            "instant": table or self.kind == "stat",
            "range": not table and self.kind != "stat",
        }

    def _defaults(self) -> Object:
        steps: list[Json] = [{"color": "green" if self.above else "text", "value": None}]
        steps += [{"color": each, "value": least} for least, each in (self.above or {}).items()]
        defaults: Object = {
            "unit": self.unit,
            "min": 0,
            "noValue": "-",
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [] if self.states_in else self._mappings(),
            "links": [] if self.link is None or self.link.within else [self.link.json()],
        }
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 25 if self.stacked else 5,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            }
        if self.kind == "state-timeline":
            defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
            defaults["color"] = {"mode": "thresholds"}
        return defaults

    def _mappings(self) -> list[Json]:
        options: Object = {
            str(number): {"text": each.text, "color": each.colour, "index": index}
            for index, (number, each) in enumerate((self.states or {}).items())
        }
        return [{"type": "value", "options": options}] if options else []

    def _overrides(self) -> list[Json]:
        overrides: list[Json] = [
            _override(each.legend, unit=each.unit) for each in self.queries if each.unit is not None
        ]
        if self.states_in:
            cell: Json = {"type": "color-text"}
            mapped = {"mappings": self._mappings(), "custom.cellOptions": cell}
            overrides.append(_override(self.states_in, **mapped))
        if self.link is not None and self.link.within:
            overrides.append(_override(self.link.within, links=[self.link.json()]))
        return overrides

    def _transformations(self) -> list[Json]:
        if self.kind != "table":
            return []
        values = [f"Value #{chr(ord('A') + number)}" for number in range(len(self.queries))]
        if len(values) == 1:
            values = ["Value"]
        names: Object = {
            value: each.legend for value, each in zip(values, self.queries, strict=True)
        }
        kept: Json = {"excludeByName": {"Time": True}, "renameByName": names, "indexByName": {}}
        return [{"id": "merge", "options": {}}, {"id": "organize", "options": kept}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What is said in words, in Markdown."""

    title: str
    content: str
    width: int = 6
    height: int = 8

    def json(self, *, of: str) -> Object:
        """Return the panel, which asks nothing."""
        return {
            "type": "text",
            "title": self.title,
            "options": {"mode": "markdown", "content": self.content},
        }


def _override(column: str, **properties: Json) -> Json:
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def _runbook(name: str) -> Json:
    return {"title": f"Runbook: {name}", "url": f"${{runbooks}}/{name}.md", "targetBlank": True}


_LEGEND: Final[Json] = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]}
_LAST: Final[Json] = {"calcs": ["lastNotNull"], "fields": "", "values": False}

_OPTIONS: Final[Mapping[Kind, Json]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {"reduceOptions": _LAST, "colorMode": "value", "graphMode": "none"},
    "table": {"showHeader": True, "cellHeight": "sm"},
    "state-timeline": {"showValue": "never", "mergeValues": True, "rowHeight": 0.8},
}
