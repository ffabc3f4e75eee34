"""Results: one row for each number, as a line of a table to read, and one of CSV to keep."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where issue 7 wants a row to get: its ratio, or where ``of_measured`` what was measured."""

    at_least: float | None = None
    at_most: float | None = None
    of_measured: bool = False

    def met(self, value: float) -> bool:
        """Return whether the value is where it should be."""
        low_enough = self.at_most is None or value <= self.at_most
        return low_enough and (self.at_least is None or value >= self.at_least)

    def share(self, value: float) -> float:
        """Return how far the value is: 1 is at the target, and more is better."""
        return value / self.at_least if self.at_least else (self.at_most or 0) / value

    def __str__(self) -> str:
        bound = f"≥ {self.at_least:,g}" if self.at_least is not None else f"≤ {self.at_most:,g}"
        return f"{bound}{' measured' if self.of_measured else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a row is compared to, and what that was in each round."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The median of what was measured in some rounds, with the lowest and the highest.

    Beside it how it compares to the median of a baseline in the same rounds.
    """

    scenario: str
    channel: str
    case: str
    unit: str
    measured: float
    low: float
    high: float
    rounds: int
    baseline: str = ""
    baseline_measured: float | None = None
    ratio: float | None = None
    target: str = ""
    met: str = ""
    share: float | None = None


def row(
    scenario: str,
    channel: str,
    case: str,
    unit: str,
    values: Sequence[float],
    *,
    baseline: Baseline | None = None,
    inverse: bool = False,
    target: Target | None = None,
) -> Row:
    """Return the row of the values of all rounds.

    The ratio is that of the measured to the baseline; ``inverse``, of the baseline to the
    measured, for what is the better the less it is, where the ratio is to be that of rates.
    """
    measured = statistics.median(values)
    base = statistics.median(baseline.values) if baseline else None
    ratio = None if base is None else (base / measured if inverse else measured / base)
    judged = measured if target and target.of_measured else ratio
    met = "" if target is None or judged is None else ("yes" if target.met(judged) else "no")
    return Row(
        scenario=scenario,
        channel=channel,
        case=case,
        unit=unit,
        measured=measured,
        low=min(values),
        high=max(values),
        rounds=len(values),
        baseline=baseline.name if baseline else "",
        baseline_measured=base,
        ratio=ratio,
        target="" if target is None else str(target),
        met=met,
        share=None if target is None or judged is None else round(target.share(judged), 3),
    )


_WIDTHS: Final = (10, 8, 40, 20, 36, 6, 17, 3)
HEADINGS: Final = (
    *("scenario", "channel", "case", "measured", "baseline", "ratio", "target", "met"),
)


def heading() -> str:
    """Return the first two lines of the table."""
    return _line(HEADINGS) + "\n" + _line(["-" * width for width in _WIDTHS])


def line(row: Row) -> str:
    """Return the row as a line of the table."""
    base = row.baseline
    if row.baseline_measured is not None:
        base = f"{_number(row.baseline_measured)} {row.baseline}"
    return _line(
        (
            *(row.scenario, row.channel, row.case),
            f"{_number(row.measured)} {row.unit}",
            base,
            "" if row.ratio is None else f"{row.ratio:.2f}",
            *(row.target, row.met),
        )
    )


def _line(cells: Sequence[str]) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return "  ".join(padded).rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


COLUMNS: Final = ("date", "commit", "mode", *(field.name for field in fields(Row)))


def write(file: Path, rows: Sequence[Row], *, date: str, commit: str, mode: str) -> None:
    """Write the rows as CSV, each with when and at which commit it was measured."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, COLUMNS)
        writer.writeheader()
        for each in rows:
            writer.writerow({"date": date, "commit": commit, "mode": mode, **_rounded(each)})


def _rounded(row: Row) -> dict[str, object]:
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in asdict(row).items()
    }
