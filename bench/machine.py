"""The machine that is measured on: which processes get which of its cores, and what it is."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Cores by number: that of what is measured, and those of all else.

    Both are empty where processes cannot be held to cores, or there is but one.
    """

    measured: Collection[int] = ()
    others: Collection[int] = ()

    def __str__(self) -> str:
        if not self.measured:
            return "not pinned: all processes share all cores"
        others = ", ".join(map(str, self.others))
        return (
            f"what is measured on core {', '.join(map(str, self.measured))}; "
            f"load, sinks, Kafka and RabbitMQ on {others}"
        )


def cores() -> Cores:
    """Return how this machine's cores are shared out."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores()
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores(measured=(first,), others=others) if others else Cores()


CORES: Final = cores()


@contextmanager
def pinned(to: Collection[int]) -> Iterator[None]:
    """Have what is started meanwhile, by this thread, run on these cores; on any if on none."""
    if not to:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def hurry() -> bool:
    """Let this process, and those that it starts, go before what else the machine does.

    Returns whether it may; root may.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    except (AttributeError, PermissionError):
        return False
    return True


_PRIORITY: Final = -10


def commit() -> str:
    """Return the commit that is measured, with a ``+`` where files were changed since."""
    told = []
    for command in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "-uno")):
        finished = subprocess.run(  # noqa: S603 - fixed commands
            ["git", *command],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
        told.append(finished.stdout.strip() if finished.returncode == 0 else "")
    return (told[0] or "unknown") + ("+" if told[1] else "")


class Theft:
    """How much of its processor a virtual machine is denied by its host, since this was made."""

    def __init__(self) -> None:
        self._began = _clocks()

    def share(self) -> float | None:
        """Return the share of all time, from 0 to 1; None where nobody knows."""
        if self._began is None or (now := _clocks()) is None:
            return None
        stolen, total = (after - before for after, before in zip(now, self._began, strict=True))
        return stolen / total if total else 0.0


def _clocks() -> tuple[int, int] | None:
    """Return the time that was stolen, and all time, in ticks."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    ticks = [int(each) for each in line.split()[1:9]]
    return ticks[7], sum(ticks)


def about() -> str:
    """Return what the machine is, in one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return (
        f"{os.cpu_count()} cores, {model}; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )
