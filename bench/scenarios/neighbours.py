"""A good subscriber, alone and beside others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, measure
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger
from tests.services.mesh import HOST, free_port

RATES: Final = {"embedded": 2_000}
"""Events a second, and on the other channels:"""
_RATE: Final = 500
_GOOD: Final = "/good"
_AT_MOST: Final = Target(at_most=2)


def neighbours(stage: Stage) -> Iterator[Row]:
    """Open loop: a subscriber alone, beside a dead one, and beside one that takes 50 ms."""
    beside: Mapping[str, Sequence[str]] = {
        "alone": (),
        "beside a dead one": [trigger("dead", f"http://{HOST}:{free_port()}/")],
        "beside a 50 ms one": [trigger("slow", stage.subscriber("/after/50/slow"))],
    }

    def once(channel: str, rate: int, others: Sequence[str]) -> Sample:
        # A mesh for each round: what waits for the others would be there in the next one.
        text = manifest(broker(), trigger("good", stage.subscriber(_GOOD)), *others)
        with stage.mesh(channel, text) as mesh:
            asked = partial(measure, mesh, stage.folder, to=stage.places(_GOOD))
            asked(seconds=0.3, rate=500)
            return asked(seconds=stage.seconds, rate=rate)

    for channel in stage.durable():
        rate = RATES.get(channel, _RATE)
        what = {
            name: partial(once, channel, rate, others)
            for name, others in beside.items()
            if channel == "embedded" or "50 ms" not in name
        }
        found = alternate(stage.rounds, what)
        for name, samples in found.items():
            p99 = Baseline(name="alone", values=[each.arrivals[1] for each in found["alone"]])
            yield row(
                *("neighbours", channel, f"{rate:,} events/s, {name}, p99", "ms"),
                [each.arrivals[1] for each in samples],
                baseline=None if name == "alone" else p99,
                target=_AT_MOST if "dead" in name else None,
            )
