"""The tables of docs/metrics.md, of the code: `python -m tests.services.metricspage --write`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from broker.observe.durations import BOUNDS
from broker.observe.families import FAMILIES
from broker.observe.family import LABELS, Family
from broker.settings import WHOLE

PAGE: Final = Path(__file__).parents[2] / "docs" / "metrics.md"

_TABLE: Final = re.compile(
    r"^<!-- table: (?P<name>\w+) -->\n.*?^<!-- end -->$", re.DOTALL | re.MULTILINE
)


def with_tables(page: str) -> str:
    """Return the page with the tables as the code has them now."""

    def rewritten(found: re.Match[str]) -> str:
        rows = "\n".join(_TABLES[found["name"]]())
        return f"<!-- table: {found['name']} -->\n{rows}\n<!-- end -->"

    return _TABLE.sub(rewritten, page)


def _metrics() -> Iterator[str]:
    yield from _row("metric", "kind", "labels", "what it tells", "told by")
    yield f"|{'---|' * 5}"
    for each in FAMILIES.values():
        yield from _row(f"`{each.name}`", each.kind, _code(each.labels), each.help, _told_by(each))


def _labels() -> Iterator[str]:
    yield from _row("label", "what it is", "values")
    yield f"|{'---|' * 3}"
    for name, label in LABELS.items():
        yield from _row(f"`{name}`", label.help, _code(label.values or ()))


def _buckets() -> Iterator[str]:
    yield f"Buckets, in seconds: {', '.join(bound.removesuffix('.0') for bound in BOUNDS)}."


def _row(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _code(values: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in values)


def _told_by(family: Family) -> str:
    if family.parts == WHOLE:
        return "all"
    return ", ".join(["`run`", *sorted(f"`{part.value}`" for part in family.parts)])


_TABLES: Final[Mapping[str, Callable[[], Iterator[str]]]] = {
    "metrics": _metrics,
    "labels": _labels,
    "buckets": _buckets,
}


def main(arguments: Sequence[str]) -> None:
    if arguments != ["--write"]:
        sys.exit("usage: python -m tests.services.metricspage --write")
    PAGE.write_text(with_tables(PAGE.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
