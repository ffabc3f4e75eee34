"""Which part of the mesh its processor works for, as py-spy samples it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.machine import CORES, pinned
from bench.measure import measure
from bench.processes import Mesh, threads
from bench.rows import Row, row
from bench.stage import NotHere, Stage
from tests.e2e.manifests import broker, manifest, trigger

PARTS: Final[Mapping[str, re.Pattern[str]]] = {
    "http in": re.compile(r"/broker/(app/(?!run)|ingress/)|/(uvicorn|starlette)/"),
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

_THREAD: Final = re.compile(r";thread \((\d+)\)")
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
            costs = _profiled(stage, mesh, program)
        for part, cost in costs.items():
            share = cost / sum(costs.values())
            yield row("parts", channel, f"{part}: {share:.0%}", "µs CPU/event", [cost])


def _profiled(stage: Stage, mesh: Mesh, program: str) -> Mapping[str, float]:
    raw = stage.new("samples")
    command = [program, "record", "--pid", str(mesh.pid), "--format", "raw", "--full-filenames"]
    command += ["--rate", str(_SAMPLES), "--threads", "--subprocesses", "--output", str(raw)]
    before = threads(mesh.pid)
    with pinned(CORES.others):
        profiler = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    sample = measure(mesh, stage.folder, to=stage.places(_PATH), seconds=stage.seconds * 2)
    profiler.send_signal(signal.SIGINT)  # on which it writes what it has
    said, _ = profiler.communicate(timeout=30)
    if not raw.exists():
        raise NotHere(f"py-spy: {said.strip()}")
    took = {tid: cpu - before.get(tid, 0) for tid, cpu in threads(mesh.pid).items()}
    found = by_part(raw.read_text().splitlines(), took)
    return {part: seconds / sample.events * 1e6 for part, seconds in found.items()}


def by_part(folded: Iterable[str], took: Mapping[int, float]) -> Mapping[str, float]:
    """Return the processor time of each part, from stacks as py-spy folds them.

    A stack, `process …;thread (ID): name;frame;… count`, belongs to the innermost frame that any
    part has. The time that a thread ``took``, by its id, goes to parts as its samples do: what
    py-spy takes for work while a thread waits counts for nothing then.
    """
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for stack in folded:
        frames, _, count = stack.rpartition(" ")
        if thread := _THREAD.search(frames):
            counts[int(thread[1])][_part(frames.split(";"))] += int(count)
    parts = dict.fromkeys((*PARTS, LOOP), 0.0)
    for thread_id, cpu in took.items():
        samples = counts.get(thread_id) or Counter({LOOP: 1})
        for part, number in samples.items():
            parts[part] += cpu * number / samples.total()
    return parts


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, files in PARTS.items():
            if files.search(frame):
                return part
    return LOOP
