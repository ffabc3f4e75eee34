"""Events in and out: accepted, stored, matched, delivered and settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, measure
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger

_OF_MINIMAL: Final = {"embedded": Target(at_least=0.4)}
_PATH: Final = "/default/default"


def delivered(stage: Stage) -> Iterator[Row]:
    """One trigger that gets all, beside the minimal asyncio loop."""
    places = stage.places(_PATH)
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    with ExitStack() as running:
        what: dict[str, Callable[[], Sample]] = {
            "minimal loop": partial(
                measure, stage.minimal, stage.folder, to=places, seconds=stage.seconds
            )
        }
        for channel in stage.channels if not stage.quick else ("embedded",):
            mesh = running.enter_context(stage.mesh(channel, text))
            asked = partial(measure, mesh, stage.folder, to=places)
            asked(seconds=0.3)
            what[channel] = partial(asked, seconds=stage.seconds)
        found = alternate(stage.rounds, what)
    minimal = found["minimal loop"]
    for channel in list(what)[1:]:
        samples = found[channel]
        named = ("delivered", channel, "64 connections, one trigger")
        yield row(
            *(*named, "µs CPU/event"),
            [each.cost for each in samples],
            baseline=Baseline(name="minimal loop", values=[each.cost for each in minimal]),
            inverse=True,
            target=_OF_MINIMAL.get(channel),
        )
        yield row(
            *(*named, "events/s"),
            [each.rate for each in samples],
            baseline=Baseline(name="minimal loop", values=[each.rate for each in minimal]),
        )
        yield row(*named, "duplicates", [float(each.duplicates) for each in samples])
