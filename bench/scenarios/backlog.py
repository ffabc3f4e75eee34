"""What has gathered for a trigger that was paused, once it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from bench.measure import Sample, arrived, collect, load
from bench.processes import ask
from bench.rows import Row, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger

_PATH = "/backlog"
_ONE = "/api/v1/triggers/default/all"


def backlog(stage: Stage) -> Iterator[Row]:
    """Drain a backlog of 100,000 events; of 25,000 on Kafka and RabbitMQ."""
    for channel in stage.durable():
        events = 100_000 if channel == "embedded" else 25_000
        sample = _drained(stage, channel, events)
        named = ("backlog", channel, f"{events:,} events waited")
        yield row(*named, "µs CPU/event", [sample.cost])
        yield row(*named, "events/s", [sample.rate])


def _drained(stage: Stage, channel: str, events: int) -> Sample:
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    places = stage.places(_PATH)
    with stage.mesh(channel, text) as mesh:
        ask(mesh.admin_port, f"{_ONE}/pause", method="POST", body=json.dumps({"why": "bench"}))
        loaded = load(mesh, stage.folder, events=events, mode="batch", batch=100, connections=8)
        before, began = mesh.cpu(), time.monotonic_ns()
        ask(mesh.admin_port, f"{_ONE}/resume", method="POST")
        arrived(places, loaded.run, loaded.told.accepted)
        cpu = mesh.cpu() - before
        took = collect(loaded, places)
        return Sample(
            events=loaded.told.accepted,
            seconds=(took.last - began) / 1e9,
            cpu=cpu,
            duplicates=took.duplicates,
        )
