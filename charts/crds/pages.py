"""Reads what the documentation says of kinds and their fields, for `kubectl explain`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from charts.crds.kinds import Kind

_DOCS: Final = Path(__file__).parents[2] / "docs"
_FOLDERS: Final = {"source": "sources", "sink": "sinks"}

_TABLE: Final = re.compile(
    r"^\| field(?: of `(?P<of>[\w.]+)`)? \|(?P<heads>.*)\n.*\n", re.MULTILINE
)
_NAME: Final = re.compile(r"`(\.?[\w.]+)`")
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_FILES: Final = re.compile(r"\b(in|of) the same files\b")
_POINTS: Final = re.compile(r"[.:;]? [Ss]ee below| above\b")

_KINDS: Final[Mapping[str, str]] = {
    "Broker": "Takes events, keeps them, and gives them to its Triggers.",
    "Trigger": "Has the events of a Broker that pass its filters delivered to a subscriber.",
    "RabbitmqBrokerConfig": "Says where the RabbitMQ is that Brokers keep their events in.",
    "DeliveryPolicy": "Says of deliveries what Triggers name it for and Knative has no field for.",
    "Source": "A source of your own, a class or a function in Python.",
    "Sink": "A sink of your own, a class or a function in Python.",
}
_ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = {
    "DeliveryPolicy": ("manifests.md", "### DeliveryPolicy\n"),
    "RabbitmqBrokerConfig": ("rabbitmq-channel.md", "## Where RabbitMQ is\n"),
}
"""Kind without a page of its own → the page, and the heading, that its table is under."""


def said_of(kind: Kind) -> str:
    """Return what the kind is for."""
    if kind.kind in _KINDS:
        return _KINDS[kind.kind]
    _, text, *_ = _page(kind).split("\n\n", 2)
    return _sentence(text)


def said_of_fields(kind: Kind) -> Mapping[tuple[str, ...], str]:
    """Return field of the spec, as the names that lead there → what it is for."""
    found: dict[tuple[str, ...], str] = {}
    page = _page(kind)
    for table in _TABLE.finditer(page):
        within = table["of"] if table["of"] not in (None, "spec") else ""
        has_defaults = "default" in table["heads"]
        for cells in _rows(page, table.end()):
            names = [*_names(cells[0])]
            if has_defaults and len(names) > 1:
                continue  # one text about several defaults
            text = _with_default(cells) if has_defaults else _sentence(cells[-1])
            for name in names:
                found.setdefault(tuple(f"{within}.{name}".strip(".").split(".")), text)
    return found


def _page(kind: Kind) -> str:
    if kind.kind in _ELSEWHERE:
        file, heading = _ELSEWHERE[kind.kind]
        _, _, below = (_DOCS / file).read_text().partition(heading)
        return re.split(r"^##", below, maxsplit=1, flags=re.MULTILINE)[0]
    if kind.kind in _KINDS:
        return ""
    return (_DOCS / _FOLDERS[kind.sort] / f"{kind.kind}.md").read_text()


def _rows(page: str, start: int) -> Iterator[list[str]]:
    for line in page[start:].splitlines():
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def _names(cell: str) -> Iterator[str]:
    """Yield the names of a cell; `.write` after `timeouts.connect` is `timeouts.write`."""
    parent = ""
    for name in _NAME.findall(cell):
        full = f"{parent}{name}" if name.startswith(".") else name
        parent = full.rpartition(".")[0]
        yield full


def _with_default(cells: list[str]) -> str:
    _, default, text = cells
    return _sentence(text if default == "none" else f"{text}; {default} unless given")


def _sentence(text: str) -> str:
    plain = _LINK.sub(r"\1", " ".join(text.split())).replace("**", "")
    plain = _POINTS.sub("", _FILES.sub(r"\1 the same namespace", plain))
    return plain[:1].upper() + plain[1:].rstrip(".") + "."
