"""Many triggers: all of them get an event, or one of them does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, measure
from bench.processes import Mesh, ask
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger

COPIES: Final = (1, 10, 100)
TRIGGERS: Final = (1, 100, 1_000)
_AT_MOST: Final = Target(at_most=1.5)
_STATUS: Final = "/api/v1/status"
_SUBSCRIBED_WITHIN: Final = 180.0


def fanout(stage: Stage) -> Iterator[Row]:
    """Every event goes to 1, 10 and 100 triggers; what is quoted is for each delivery."""
    with ExitStack() as running:
        what: dict[str, Callable[[], Sample]] = {}
        for copies in COPIES:
            paths = [f"/copy/{number}" for number in range(copies)]
            triggers = [trigger(f"t{n}", stage.subscriber(path)) for n, path in enumerate(paths)]
            mesh = running.enter_context(stage.mesh("embedded", manifest(broker(), *triggers)))
            asked = partial(measure, mesh, stage.folder, to=stage.places(*paths))
            asked(events=10)
            # As many deliveries whatever the number of triggers.
            what[str(copies)] = partial(asked, events=int(4_000 * stage.seconds) // copies)
        found = alternate(stage.rounds, what)
    for copies in COPIES:
        named = ("fanout", "embedded", f"to {copies:,} triggers")
        one = Baseline(name="one trigger", values=[each.cost for each in found["1"]])
        costs = [each.cost / copies for each in found[str(copies)]]
        rates = [each.rate * copies for each in found[str(copies)]]
        baseline = None if copies == 1 else one
        yield row(*named, "µs CPU/delivery", costs, baseline=baseline)
        yield row(*named, "deliveries/s", rates)


def subscribed(mesh: Mesh, triggers: int) -> None:
    """Return once so many triggers are: what that takes is no event's cost."""
    began = time.monotonic()
    while len(json.loads(ask(mesh.admin_port, _STATUS))["brokers"][0]["triggers"]) < triggers:
        if time.monotonic() - began > _SUBSCRIBED_WITHIN:
            raise RuntimeError(f"{triggers:,} triggers are not subscribed")
        time.sleep(0.5)


def triggers(stage: Stage) -> Iterator[Row]:
    """One of 1, 100 and 1,000 triggers matches."""
    path = "/matches"
    for channel in stage.durable():
        with ExitStack() as running:
            what: dict[str, Callable[[], Sample]] = {}
            counts = TRIGGERS if channel == "embedded" else (TRIGGERS[0], TRIGGERS[-1])
            for count in counts:
                others = [
                    trigger(f"t{number}", stage.subscriber("/others"), type=f"other.{number}")
                    for number in range(1, count)
                ]
                match = trigger("match", stage.subscriber(path), type="bench")
                text = manifest(broker(), match, *others)
                mesh = running.enter_context(stage.mesh(channel, text))
                subscribed(mesh, count)
                asked = partial(measure, mesh, stage.folder, to=stage.places(path))
                asked(seconds=0.3)
                what[str(count)] = partial(asked, seconds=stage.seconds)
            found = alternate(stage.rounds, what)
        for count in counts:
            named = ("triggers", channel, f"{count:,}, one matches")
            costs = [each.cost for each in found[str(count)]]
            one = Baseline(name="one trigger", values=[each.cost for each in found["1"]])
            yield row(
                *(*named, "µs CPU/event"),
                costs,
                baseline=None if count == 1 else one,
                target=_AT_MOST if count == TRIGGERS[-1] else None,
            )
