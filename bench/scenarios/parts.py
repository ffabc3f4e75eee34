"""Which part of the mesh its processor works for, as py-spy samples it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.machine import CORES, pinned
from bench.measure import measure
from bench.processes import Mesh
from bench.rows import Row, row
from bench.stage import NotHere, Stage
from tests.e2e.manifests import broker, manifest, trigger

PARTS: Final[Mapping[str, re.Pattern[str]]] = {
    "http in": re.compile(r"/broker/(app|ingress)/|/(uvicorn|starlette)/"),
    "codec": re.compile(r"/broker/(codecs/|event\.py)|/(msgspec|json)/"),
    "filter": re.compile(r"/broker/(filters|cesql)/"),
    "channel": re.compile(r"/broker/channels/|/(aiokafka|aiormq|aio_pika|pamqp|sqlite3)/"),
    "http out": re.compile(r"/sinks/"),
    "delivery": re.compile(r"/delivery/|/broker/(mesh/|dispatcher\.py)"),
    "observe": re.compile(r"/broker/observe/|/(logging|prometheus_client)/"),
}
"""Whose a frame is, by its file."""
LOOP: Final = "loop"
"""What belongs to no part: the event loop, with its reading and writing of sockets."""

_PATH: Final = "/parts"
_SAMPLES: Final = 200  # a second


def parts(stage: Stage) -> Iterator[Row]:
    """The cost of an event, accepted and delivered, by part."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if program is None:
        raise NotHere("py-spy is not installed")
    text = manifest(broker(), trigger("all", stage.subscriber(_PATH)))
    for channel in stage.channels:
        with stage.mesh(channel, text) as mesh:
            measure(mesh, stage.folder, to=stage.places(_PATH), seconds=0.3)
            cost, shares = _profiled(stage, mesh, program)
        for part, share in shares.items():
            yield row("parts", channel, f"{part}: {share:.0%}", "µs CPU/event", [cost * share])


def _profiled(stage: Stage, mesh: Mesh, program: str) -> tuple[float, Mapping[str, float]]:
    raw = stage.new("samples")
    command = [program, "record", "--pid", str(mesh.pid), "--format", "raw", "--full-filenames"]
    command += ["--rate", str(_SAMPLES), "--subprocesses", "--output", str(raw)]
    with pinned(CORES.others):
        profiler = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    sample = measure(mesh, stage.folder, to=stage.places(_PATH), seconds=stage.seconds * 2)
    profiler.send_signal(2)  # an interrupt, on which it writes what it has
    said, _ = profiler.communicate(timeout=30)
    if not raw.exists():
        raise NotHere(f"py-spy: {said.strip()}")
    return sample.cost, by_part(raw.read_text().splitlines())


def by_part(folded: Iterable[str]) -> Mapping[str, float]:
    """Return the share of each part in stacks as py-spy folds them, `frame;frame;… count`.

    A stack belongs to the innermost frame that any part has.
    """
    counts: Counter[str] = Counter()
    for stack in folded:
        frames, _, count = stack.rpartition(" ")
        counts[_part(frames.split(";"))] += int(count)
    total = counts.total() or 1
    return {part: counts[part] / total for part in (*PARTS, LOOP)}


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, files in PARTS.items():
            if files.search(frame):
                return part
    return LOOP
