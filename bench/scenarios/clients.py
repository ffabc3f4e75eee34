"""Kafka and RabbitMQ: what the mesh costs beside the clients that it stands on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from bench.machine import CORES, pinned
from bench.measure import measure
from bench.processes import ask
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger

_PATH: Final = "/default/default"
_WITHIN_BUDGET: Final = Target(at_most=1)
_AS_MUCH_AGAIN: Final = Target(at_most=2)
_TWICE: Final = Target(at_least=2)

Found = Mapping[str, tuple[float, float]]
"""For each way: µs an event, of time, and of the processor."""


def kafka(stage: Stage) -> Iterator[Row]:
    """Beside bare aiokafka, with its batches of many events, which is the fastest that it has."""
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    places = stage.places(_PATH)
    through, loops, clients = [], [], []
    with stage.mesh("kafka", text) as mesh:
        measure(mesh, stage.folder, to=places, seconds=0.3)
        for _ in range(stage.rounds):
            through.append(measure(mesh, stage.folder, to=places, seconds=stage.seconds))
            loops.append(measure(stage.minimal, stage.folder, to=places, seconds=stage.seconds))
            clients.append(_client("bench.kafka_client", stage.kafka.address))
    produce, append, consume = (
        [each[name][1] for each in clients] for name in ("create_batch", "append", "getmany")
    )
    yield row(
        *("kafka", "kafka", "append to the channel", "µs CPU/event"),
        append,
        baseline=Baseline(name="aiokafka create_batch", values=produce),
        target=_AS_MUCH_AGAIN,
    )
    budget = [
        loop.cost + 2 * (one + other)
        for loop, one, other in zip(loops, produce, consume, strict=True)
    ]
    yield row(
        *("kafka", "kafka", "HTTP to Kafka to HTTP", "µs CPU/event"),
        [each.cost for each in through],
        baseline=Baseline(name="minimal loop + twice aiokafka", values=budget),
        target=_WITHIN_BUDGET,
    )


def rabbitmq(stage: Stage) -> Iterator[Row]:
    """Beside bare aio-pika, both with 64 events on their way to an exchange with one queue."""
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    accepted, clients = [], []
    with stage.mesh("rabbitmq", text) as mesh, stage.rabbitmq.management.vhost() as vhost:
        # The queue is there, and nobody takes from it meanwhile.
        why = json.dumps({"why": "bench"})
        ask(mesh.admin_port, "/api/v1/triggers/default/all/pause", method="POST", body=why)
        measure(mesh, stage.folder, seconds=0.3)
        url = stage.rabbitmq.listeners.url(vhost)
        for _ in range(stage.rounds):
            accepted.append(measure(mesh, stage.folder, seconds=stage.seconds))
            clients.append(_client("bench.rabbitmq_client", url))
    bare = Baseline(name="aio-pika", values=[1e6 / each["bare"][0] for each in clients])
    named = ("rabbitmq", "rabbitmq")
    yield row(
        *(*named, "accepted over HTTP", "events/s"),
        [each.rate for each in accepted],
        baseline=bare,
        target=_TWICE,
    )
    yield row(
        *(*named, "append to the channel", "events/s"),
        [1e6 / each["append"][0] for each in clients],
        baseline=bare,
    )
    yield row(
        *(*named, "append to the channel", "µs CPU/event"),
        [each["append"][1] for each in clients],
        baseline=Baseline(name="aio-pika", values=[each["bare"][1] for each in clients]),
    )


def _client(module: str, address: str) -> Found:
    command = [sys.executable, "-m", module, address]
    with pinned(CORES.measured):
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - ours
    found: Found = json.loads(told.stdout)
    return found
