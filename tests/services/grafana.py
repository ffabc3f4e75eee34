"""Dashboards as Grafana reads them, as far as tests have to know, and as it asks their queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

import msgspec

_VARIABLE: Final = re.compile(r"\$(\w+)")


class Target(msgspec.Struct, kw_only=True):
    expr: str
    legendFormat: str  # noqa: N815  # as Grafana has it
    instant: bool


class Place(msgspec.Struct, kw_only=True):
    x: int
    y: int
    w: int
    h: int

    def cells(self) -> Iterator[tuple[int, int]]:
        yield from product(range(self.x, self.x + self.w), range(self.y, self.y + self.h))


class Panel(msgspec.Struct, kw_only=True):
    type: str
    title: str
    gridPos: Place  # noqa: N815  # as Grafana has it
    description: str = ""
    targets: Sequence[Target] = ()


class Variable(msgspec.Struct, kw_only=True):
    name: str


class Variables(msgspec.Struct):
    list: Sequence[Variable]


class Board(msgspec.Struct, kw_only=True):
    uid: str
    panels: Sequence[Panel]
    templating: Variables


def board(file: Path) -> Board:
    return msgspec.json.decode(file.read_bytes(), type=Board)


CHOSEN: Final[Mapping[str, str]] = {
    "job": "cemesh",
    "namespace": "[^/]+",
    "trigger": ".+",
    "broker": ".*",
    "__rate_interval": "1m",
}
"""What is chosen where nobody has chosen anything else."""


def query(expr: str, chosen: Mapping[str, str] = CHOSEN) -> str:
    """Return what Grafana asks, once it has put in what is chosen."""
    return _VARIABLE.sub(lambda found: chosen[found[1]], expr)


def asked(of: Board) -> Sequence[str]:
    """Return all queries of the dashboard."""
    return [query(target.expr) for panel in of.panels for target in panel.targets]
