"""How long an event takes from when it was due to be sent until its subscriber has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, disk, measure
from bench.plot import Line
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger

RATES: Final = {500: 3.0, 1_000: 2.0, 2_000: 2.0, 5_000: 1.0}
"""Events a second, and for how many times as long as other loads: there must be enough of them."""
_TARGETED: Final = ("embedded", 2_000, "p99")
_AT_MOST: Final = Target(at_most=10, of_measured=True)
_PATH: Final = "/default/default"


def drawn(rows: Sequence[Row]) -> Sequence[Line]:
    """Return the 99th percentiles in rows of `latency`, by rate; none if there are none."""
    mine = {(each.channel, each.case): each for each in rows if each.scenario == "latency"}
    points: dict[str, list[tuple[float, float]]] = {}
    for channel in dict.fromkeys(channel for channel, _ in mine):
        for rate in RATES:
            found = mine.get((channel, _case(rate, "p99")))
            if found is not None:
                points.setdefault(channel, []).append((rate, found.measured))
                base = (rate, found.baseline_measured or found.low)
                points.setdefault(found.baseline, [])
                if base not in points[found.baseline]:
                    points[found.baseline].append(base)
    return [Line(name, each) for name, each in points.items()]


def _case(rate: int, name: str) -> str:
    return f"{rate:,} events/s, {name}"


def latency(stage: Stage) -> Iterator[Row]:
    """Open loop at fixed rates, beside the minimal asyncio loop at the same."""
    places = stage.places(_PATH)
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))

    def seconds(rate: int) -> float:
        return stage.seconds * (1 if stage.quick else RATES[rate])

    rates = (2_000,) if stage.quick else tuple(RATES)
    with ExitStack() as running:
        asked = {"minimal loop": partial(measure, stage.minimal, stage.folder, to=places)}
        for channel in stage.durable():
            mesh = running.enter_context(stage.mesh(channel, text))
            asked[channel] = partial(measure, mesh, stage.folder, to=places)
            asked[channel](seconds=0.3, rate=500)
        what: dict[str, Callable[[], Sample]] = {
            f"{name} {rate}": partial(ask, rate=rate, seconds=seconds(rate))
            for rate in rates
            for name, ask in asked.items()
        }
        what["disk"] = partial(disk, stage.folder)
        found = alternate(stage.rounds, what)
    for which, name in enumerate(("p50", "p99")):
        yield row(
            *("latency", "disk", f"64 KiB made durable, {name}", "ms"),
            [each.arrivals[which] for each in found["disk"]],
        )
    for channel in list(asked)[1:]:
        for rate in rates:
            base = found[f"minimal loop {rate}"]
            for which, name in enumerate(("p50", "p99", "p99.9")):
                yield row(
                    *("latency", channel, _case(rate, name), "ms"),
                    [each.arrivals[which] for each in found[f"{channel} {rate}"]],
                    baseline=Baseline(
                        name="minimal loop", values=[each.arrivals[which] for each in base]
                    ),
                    target=_AT_MOST if (channel, rate, name) == _TARGETED else None,
                )
