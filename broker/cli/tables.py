"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, indent: int = 0) -> None:
    """Print aligned columns: numbers to the right, everything else to the left."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    for line in (list(head), *cells):
        padded = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        )
        click.echo(f"{' ' * indent}{'  '.join(padded).rstrip()}")


def age(since: datetime | None) -> str:
    """Return how long ago that was, in the one unit that fits: ``42s``, ``3h``."""
    if since is None:
        return "-"
    passed = max(timedelta(), datetime.now(UTC) - since)
    for unit, length in (
        ("d", timedelta(days=1)),
        ("h", timedelta(hours=1)),
        ("m", timedelta(minutes=1)),
    ):
        if passed >= 2 * length:
            return f"{passed // length}{unit}"
    return f"{passed // timedelta(seconds=1)}s"


def _text(cell: object) -> str:
    match cell:
        case None:
            return "-"
        case int():
            return f"{cell:,}"
        case datetime():
            return f"{cell.astimezone():%Y-%m-%d %H:%M:%S}"
        case _:
            return str(cell)
