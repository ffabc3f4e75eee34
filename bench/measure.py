"""One measurement: a load, the events it brought, and what they cost."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.ledger import EventsLost, balance
from bench.load import Order, Told, percentiles
from bench.machine import CORES, pinned
from bench.processes import Process, ask
from bench.sink import Place

_RUNS: Final = itertools.count(1)
_SYNCS: Final = 100
_BLOCK: Final = bytes(1 << 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round found.

    ``events`` were accepted, and delivered as often as they had to be, in so many ``seconds``, for
    so many seconds of ``cpu``. ``answers`` and ``arrivals`` are the percentiles (50, 99, 99.9) of
    how long the 202 took, and the event to its subscriber, in ms, from when it was due.
    """

    events: int
    seconds: float
    cpu: float
    answers: tuple[float, ...] = (0, 0, 0)
    arrivals: tuple[float, ...] = (0, 0, 0)
    duplicates: int = 0

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def cost(self) -> float:
        """µs of processor for an event."""
        return self.cpu / self.events * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where every event of a load has to arrive.

    After ``patience`` seconds without an arrival, what is missing is not waited for any longer.
    """

    sink: Process
    paths: Sequence[str]
    patience: float = 30.0


def send(order: Order) -> tuple[Told, bytes]:
    """Carry the order out in a process of its own, and return what it says, and its ledger."""
    command = [sys.executable, "-m", "bench.load", msgspec.json.encode(order).decode()]
    with pinned(CORES.others):
        finished = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - ours
    if finished.returncode != 0:
        raise RuntimeError(f"the load failed:\n{finished.stderr.decode()}")
    told = msgspec.json.decode(finished.stdout, type=Told)
    return told, Path(order.ledger).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What has been sent, and accepted: the states of the events are in ``sent``."""

    who: str
    run: int
    told: Told
    sent: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What has arrived, none of it missing; ``last`` is of `time.monotonic_ns`."""

    last: int
    arrivals: tuple[float, ...]
    duplicates: int


def load(
    server: Process, folder: Path, *, path: str = "/default/default", **asked: object
) -> Loaded:
    """Load the server as an `Order` has it; raise `EventsLost` if it refuses anything."""
    run = next(_RUNS)
    ledger = folder / f"sent-{run}"
    fixed = {"port": server.port, "path": path, "run": run, "ledger": str(ledger)}
    told, sent = send(msgspec.convert(fixed | asked, Order))
    ledger.unlink()
    if set(told.statuses) - {"202"} or not told.accepted:
        raise EventsLost(f"{server.name} answered {told.statuses}, and not 202 alone")
    return Loaded(who=server.name, run=run, told=told, sent=sent)


def collect(loaded: Loaded, to: Places) -> Collected:
    """Wait until everything is where it has to be, and check it.

    Raises:
        EventsLost: Something is missing, or there is more than there should be.

    """
    last = arrived(to, loaded.run, loaded.told.accepted)
    found = [checked(to.sink, loaded, each) for each in to.paths]
    latencies = array("q")
    for _, took in found:
        latencies.extend(took)
    return Collected(
        last=last,
        arrivals=_milliseconds(percentiles(latencies)),
        duplicates=sum(duplicates for duplicates, _ in found),
    )


def measure(server: Process, folder: Path, *, to: Places | None = None, **asked: object) -> Sample:
    """Return what a load took, until it was accepted, or arrived at all places."""
    before = server.cpu()
    loaded = load(server, folder, **asked)  # type: ignore[arg-type]  # of an `Order`, checked there
    told = loaded.told
    cpu = server.cpu() - before
    took = Collected(last=told.ended, arrivals=(0, 0, 0), duplicates=0)
    if to is not None:
        arrived(to, loaded.run, told.accepted)
        cpu = server.cpu() - before
        took = collect(loaded, to)
    return Sample(
        events=told.accepted,
        seconds=(took.last - told.began) / 1e9,
        cpu=cpu,
        answers=_milliseconds(told.answers),
        arrivals=took.arrivals,
        duplicates=took.duplicates,
    )


def arrived(to: Places, run: int, events: int) -> int:
    """Return when the last one has arrived everywhere, or nothing has for long."""
    most, since = -1, time.monotonic()
    while True:
        places = places_of(to.sink, run)
        there = sum(places[path].events for path in to.paths if path in places)
        if there >= events * len(to.paths) or time.monotonic() - since > to.patience:
            return max((place.last for place in places.values()), default=time.monotonic_ns())
        if there > most:
            most, since = there, time.monotonic()
        time.sleep(0.05)


def places_of(sink: Process, run: int) -> Mapping[str, Place]:
    """Return what of a run has arrived where.

    Raises:
        EventsLost: What has arrived could not be read.

    """
    places = msgspec.json.decode(ask(sink.port, f"/-/places/{run}"), type=dict[str, Place])
    if "unreadable" in places:
        raise EventsLost(f"{places['unreadable'].events} arrivals had no id of the load's")
    return places


def checked(sink: Process, loaded: Loaded, path: str) -> tuple[int, array[int]]:
    """Return the duplicates and the latencies, in ns, of a place where nothing is missing."""
    balanced = balance(loaded.sent, ask(sink.port, f"/-/counts/{loaded.run}{path}"))
    balanced.check(f"{loaded.who}, at {path}")
    latencies = array("q")
    latencies.frombytes(ask(sink.port, f"/-/latencies/{loaded.run}{path}"))
    return balanced.duplicates, latencies


def disk(folder: Path) -> Sample:
    """Return how long the disk takes to make 64 KiB durable, which no embedded channel can beat."""
    took = array("q")
    began = time.monotonic()
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            start = time.monotonic_ns()
            file.write(_BLOCK)
            os.fdatasync(file.fileno())
            took.append(time.monotonic_ns() - start)
    seconds = time.monotonic() - began
    return Sample(events=_SYNCS, seconds=seconds, cpu=0, arrivals=_milliseconds(percentiles(took)))


def _milliseconds(times: Sequence[int]) -> tuple[float, ...]:
    return tuple(each / 1e6 for each in times)


def alternate(
    rounds: int, what: Mapping[str, Callable[[], Sample]]
) -> Mapping[str, Sequence[Sample]]:
    """Return the samples of each, taken in rounds in which every one has its turn."""
    found: dict[str, list[Sample]] = {name: [] for name in what}
    for number in range(rounds):
        turns = list(what) if number % 2 == 0 else list(what)[::-1]
        for name in turns:
            found[name].append(what[name]())
    return found
