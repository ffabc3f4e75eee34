"""What is measured. A scenario yields the rows of its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.rows import Row
from bench.scenarios.backlog import backlog
from bench.scenarios.clients import kafka, rabbitmq
from bench.scenarios.delivered import delivered
from bench.scenarios.footprint import memory, start
from bench.scenarios.ingress import batches, ingress
from bench.scenarios.latency import latency
from bench.scenarios.matching import fanout, triggers
from bench.scenarios.neighbours import neighbours
from bench.scenarios.parts import parts
from bench.scenarios.stories import stories
from bench.scenarios.workers import workers
from bench.stage import Stage

Scenario = Callable[[Stage], Iterator[Row]]

SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.__name__: scenario
    for scenario in (
        ingress,
        delivered,
        workers,
        stories,
        batches,
        latency,
        fanout,
        triggers,
        neighbours,
        kafka,
        rabbitmq,
        backlog,
        start,
        memory,
        parts,
    )
}
QUICK: Final = ("ingress", "delivered", "batches", "latency")
"""The essential ones, which `make bench-quick` measures in a minute."""
