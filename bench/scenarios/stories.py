"""What it costs to keep the stories of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, measure
from bench.rows import Baseline, Row, Target, row
from bench.stage import NotHere, Stage
from tests.e2e.manifests import broker, manifest, trigger

_PATH: Final = "/default/default"
_KEPT: Final[dict[str, tuple[str, ...]]] = {
    "no stories": ("--stories-size", "0"),
    "all stories": (),
    "a sample of 1 %": ("--stories-sample", "0.01"),
}
_COSTS: Final = Target(at_least=0.9)


def stories(stage: Stage) -> Iterator[Row]:
    """One trigger that gets all, with stories and without."""
    if "embedded" not in stage.channels:
        raise NotHere("it is about the embedded channel")
    places = stage.places(_PATH)
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    with ExitStack() as running:
        what: dict[str, Callable[[], Sample]] = {}
        for name, arguments in _KEPT.items():
            mesh = running.enter_context(stage.mesh("embedded", text, arguments=arguments))
            asked = partial(measure, mesh, stage.folder, to=places)
            asked(seconds=0.3)
            what[name] = partial(asked, seconds=stage.seconds)
        found = alternate(stage.rounds, what)
    without, *_ = _KEPT
    rates = Baseline(name=without, values=[each.rate for each in found[without]])
    costs = Baseline(name=without, values=[each.cost for each in found[without]])
    for name, samples in found.items():
        named = ("stories", "embedded", name)
        yield row(*named, "µs CPU/event", [each.cost for each in samples], baseline=costs)
        target = _COSTS if name == "all stories" else None
        yield row(
            *named,
            "events/s",
            [each.rate for each in samples],
            baseline=rates,
            target=target,
        )
