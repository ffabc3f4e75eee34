"""Puts results into the documentation: `python -m bench.page bench/results/FILE.csv`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

_PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_BEGIN: Final = "<!-- figures: python -m bench.page -->\n"
_END: Final = "<!-- end of figures -->\n"
_HEADINGS: Final = ("scenario", "channel", "case", "measured", "baseline", "ratio", "target", "met")

Cells = Mapping[str, str]


def figures(file: Path) -> str:
    """Return the section of the figures in a CSV that `python -m bench` wrote."""
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    day, commit = rows[0]["date"][:10], rows[0]["commit"]
    wanted = [each for each in rows if each["target"]]
    others = [each for each in rows if not each["target"] and each["unit"] != "duplicates"]
    plots = [file.with_suffix(".svg"), file.with_name(f"{file.stem}-latency.svg")]
    return "\n".join(
        [
            f"Of {day}, at commit {commit}: [all of it](../bench/results/{file.name}).",
            "",
            *(f"![](../bench/results/{each.name})\n" for each in plots if each.exists()),
            *_table(wanted),
            "",
            "<details><summary>What has no target</summary>",
            "",
            *_table(others),
            "",
            "</details>",
            "",
        ]
    )


def _table(rows: Sequence[Cells]) -> Iterator[str]:
    yield _line(_HEADINGS)
    yield _line("---" for _ in _HEADINGS)
    for each in rows:
        base = each["baseline"] and f"{_number(each['baseline_measured'])} {each['baseline']}"
        ratio = each["ratio"] and f"{float(each['ratio']):.2f}"
        measured = f"{_number(each['measured'])} {each['unit']}"
        named = (each["scenario"], each["channel"], each["case"])
        yield _line((*named, measured, base, ratio, each["target"], each["met"]))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(text: str) -> str:
    value = float(text)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    section = figures(Path(sys.argv[1]))
    _PAGE.write_text(f"{before}{_BEGIN}\n{section}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
