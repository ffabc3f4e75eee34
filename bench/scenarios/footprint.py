"""What a mesh takes to start, and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bench.measure import load, measure
from bench.rows import Baseline, Row, Target, row
from bench.stage import Stage
from tests.e2e.manifests import broker, manifest, trigger

_SECOND: Final = Target(at_most=1, of_measured=True)
_STORED: Final = 1_000_000
_FILLING: Final = 40.0
"""Seconds after which no more events are stored, however many there are."""


def start(stage: Stage) -> Iterator[Row]:
    """From the command until it is ready, with 1 and 1,000 triggers."""
    found: dict[int, list[tuple[float, float]]] = {1: [], 1_000: []}
    with stage.mesh("embedded", broker()):
        pass  # so that its bytecode is there
    for _ in range(stage.rounds):
        for count, took in found.items():
            triggers = [
                trigger(f"t{number}", stage.subscriber("/"), type=f"type.{number}")
                for number in range(count)
            ]
            with stage.mesh("embedded", manifest(broker(), *triggers)) as mesh:
                took.append((mesh.started_in, mesh.cpu()))
    for which, unit in enumerate(("s", "s CPU")):
        few, many = ([each[which] for each in took] for took in found.values())
        yield row("start", "embedded", "1 trigger", unit, few)
        yield row(
            *("start", "embedded", "1,000 triggers", unit),
            many,
            baseline=Baseline(name="one trigger", values=few),
            target=_SECOND if unit == "s" else None,
        )


def memory(stage: Stage) -> Iterator[Row]:
    """Idle, after a load, and with a million events stored."""
    path = "/memory"
    text = manifest(broker(), trigger("all", stage.subscriber(path), type="bench"))
    for channel in stage.channels:
        with stage.mesh(channel, text) as mesh:
            idle = mesh.memory()
            yield row("memory", channel, "idle", "MiB", [idle])
            measure(mesh, stage.folder, to=stage.places(path), seconds=stage.seconds)
            base = Baseline(name="idle", values=[idle])
            yield row("memory", channel, "loaded", "MiB", [mesh.memory()], baseline=base)
    with stage.mesh("embedded", text, arguments=("--retention-size", "4GiB")) as mesh:
        base = Baseline(name="idle", values=[mesh.memory()])
        asked: dict[str, Any] = {"mode": "batch", "batch": 100, "connections": 8, "kind": "other"}
        filled = load(mesh, stage.folder, events=_STORED, seconds=_FILLING, **asked)
        stored = f"{filled.told.accepted:,} events stored"
        yield row("memory", "embedded", stored, "MiB", [mesh.memory()], baseline=base)
