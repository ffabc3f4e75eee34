"""One mesh in several processes: what an event costs then, and how many there are in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, measure
from bench.rows import Baseline, Row, row
from bench.stage import NotHere, Stage
from tests.e2e.manifests import broker, manifest, trigger

_WORKERS: Final = (1, 2, 4)
_PATH: Final = "/default/default"


def workers(stage: Stage) -> Iterator[Row]:
    """One, two and four of them, with one trigger that gets all; on all cores, load and sink too.

    So what a second brings is bounded by what load and sink leave of the cores.
    """
    if "embedded" not in stage.channels:
        raise NotHere("it is about the embedded channel")
    places = stage.places(_PATH)
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    with ExitStack() as running:
        what: dict[str, Callable[[], Sample]] = {}
        for count in _WORKERS:
            mesh = stage.mesh("embedded", text, arguments=("--workers", str(count)), spread=True)
            asked = partial(measure, running.enter_context(mesh), stage.folder, to=places)
            asked(seconds=0.3)
            what[_named(count)] = partial(asked, seconds=stage.seconds)
        found = alternate(stage.rounds, what)
    one = found[_named(1)]
    for count in _WORKERS:
        samples = found[_named(count)]
        named = ("workers", "embedded", _named(count))
        costs = Baseline(name=_named(1), values=[each.cost for each in one])
        rates = Baseline(name=_named(1), values=[each.rate for each in one])
        yield row(*named, "µs CPU/event", [each.cost for each in samples], baseline=costs)
        yield row(*named, "events/s", [each.rate for each in samples], baseline=rates)


def _named(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
