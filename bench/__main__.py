"""Measures the mesh: `python -m bench [--quick] [SCENARIO…]`; all scenarios if none is named.

Prints a line for each number, and writes them to bench/results as CSV, with a plot.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.bars import bars
from bench.ledger import EventsLost
from bench.machine import CORES, Theft, about, commit, hurry
from bench.plot import svg
from bench.rows import Row, heading, line, write
from bench.scenarios import QUICK, SCENARIOS, Scenario
from bench.scenarios.latency import drawn
from bench.stage import CHANNELS, NotHere, Stage

_RESULTS: Final = Path(__file__).parent / "results"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="the essential, in a minute")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a load; default: 1")
    parser.add_argument(
        "--channel", action="append", choices=CHANNELS, help="default: all; quick: no servers"
    )
    parser.add_argument("--output", type=Path, default=_RESULTS, help="folder of the results")
    asked = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("bench: it needs Linux, whose /proc tells what processes take")
    stage = Stage(
        rounds=asked.rounds,
        seconds=asked.seconds,
        quick=asked.quick,
        channels=asked.channel or (CHANNELS[:2] if asked.quick else CHANNELS),
    )
    mode = "quick" if asked.quick else "full"
    names = asked.scenario or (QUICK if asked.quick else list(SCENARIOS))
    began = datetime.now(UTC)
    version = commit()
    _tell(f"cemesh at {version}, {began:%Y-%m-%d %H:%M} UTC, {mode}: {stage.rounds} rounds")
    before = "before" if hurry() else "with no priority over"
    _tell(f"{about()}\n{CORES}; {before} other processes\n\n{heading()}")
    theft = Theft()
    with stage:
        rows, failed = measured(stage, SCENARIOS, names)
    if (stolen := theft.share()) is not None:
        _tell(f"the host of this machine kept {stolen:.0%} of its processor from it meanwhile")
    if rows:
        asked.output.mkdir(parents=True, exist_ok=True)
        name = "-".join([f"{began:%Y-%m-%d-%H%M}", mode, *asked.scenario])
        file = asked.output / f"{name}.csv"
        write(file, rows, date=f"{began:%Y-%m-%dT%H:%M:%SZ}", commit=version, mode=mode)
        _tell(f"\n{file}")
        if any(each.target for each in rows):
            title = f"cemesh at {version}, {began:%Y-%m-%d}: of each target"
            file.with_suffix(".svg").write_text(bars(rows, title=title))
        if lines := drawn(rows):
            title = "From when an event was due until it has arrived, 99th percentile"
            text = svg(lines, title=title, x="events/s", y="ms")
            file.with_name(f"{file.stem}-latency.svg").write_text(text)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measured(
    stage: Stage, scenarios: Mapping[str, Scenario], names: Sequence[str]
) -> tuple[Sequence[Row], Sequence[str]]:
    """Return the rows of the scenarios with these names, and the names of those that failed.

    A scenario in which an event is missing has failed.
    """
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        began = time.monotonic()
        try:
            for row in scenarios[name](stage):
                rows.append(row)
                _tell(line(row))
        except NotHere as missing:
            _tell(f"{name}: not measured, {missing}")
        except (EventsLost, RuntimeError, OSError, subprocess.SubprocessError) as error:
            failed.append(name)
            _tell(f"{name} FAILED: {error}")
        _tell(f"{name} took {time.monotonic() - began:.0f} s\n")
    return rows, failed


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
