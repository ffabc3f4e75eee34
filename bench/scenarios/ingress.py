"""Events in: how many are accepted, with nobody subscribed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.measure import Sample, alternate, measure
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker

_OF_NGINX: Final = {"memory": Target(at_least=0.5), "embedded": Target(at_least=0.3)}
_OF_UVICORN: Final = {"embedded": Target(at_least=1)}
_STORED: Final = Target(at_least=60_000, of_measured=True)
_BATCH: Final = 100


def ingress(stage: Stage) -> Iterator[Row]:
    """One event a request, beside nginx that answers 202 and uvicorn with a bare application."""
    with ExitStack() as running:
        what: dict[str, Callable[[], Sample]] = {
            name: partial(measure, server, stage.folder, seconds=stage.seconds)
            for name, server in (("nginx 202", stage.nginx), ("bare uvicorn", stage.uvicorn))
        }
        for channel in stage.channels:
            mesh = running.enter_context(stage.mesh(channel, broker()))
            measure(mesh, stage.folder, seconds=0.3)  # warm
            both = not stage.quick and channel in ("memory", "embedded")
            for mode in ("binary", "structured") if both else ("binary",):
                what[f"{channel} {mode}"] = partial(
                    measure, mesh, stage.folder, seconds=stage.seconds, mode=mode
                )
        found = alternate(stage.rounds, what)
    for name in list(what)[2:]:
        yield from _compared(found, *name.split(" "))


def _compared(found: Mapping[str, Sequence[Sample]], channel: str, mode: str) -> Iterator[Row]:
    samples = found[f"{channel} {mode}"]
    targets = {"nginx 202": _OF_NGINX.get(channel), "bare uvicorn": _OF_UVICORN.get(channel)}
    for name, target in targets.items():
        costs = Baseline(name=name, values=[each.cost for each in found[name]])
        wanted = target if mode == "binary" else None
        yield row(
            *("ingress", channel, f"{mode}, 64 connections", "µs CPU/event"),
            [each.cost for each in samples],
            baseline=costs,
            inverse=True,
            target=wanted,
        )
    rates = Baseline(name="bare uvicorn", values=[each.rate for each in found["bare uvicorn"]])
    yield row(
        *("ingress", channel, f"{mode}, 64 connections", "events/s"),
        [each.rate for each in samples],
        baseline=rates,
    )


def batches(stage: Stage) -> Iterator[Row]:
    """A hundred events a request."""
    with ExitStack() as running:
        what: dict[str, Callable[[], Sample]] = {}
        for channel in stage.channels if not stage.quick else ("embedded",):
            mesh = running.enter_context(stage.mesh(channel, broker()))
            asked = partial(measure, mesh, stage.folder, mode="batch", batch=_BATCH, connections=8)
            asked(seconds=0.3)
            what[channel] = partial(asked, seconds=stage.seconds)
        found = alternate(stage.rounds, what)
    for channel, samples in found.items():
        named = ("batches", channel, f"{_BATCH} in a request")
        wanted = _STORED if channel == "embedded" else None
        of_one_core = [1e6 / each.cost for each in samples]
        yield row(*named, "events/s of CPU", of_one_core, target=wanted)
        yield row(*named, "events/s", [each.rate for each in samples])
