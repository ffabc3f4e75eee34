"""One process that does a share of a mesh's work, as the first process holds it."""

from __future__ import annotations

import asyncio
import pickle  # what is pickled goes to a process that this one starts
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self, cast

from broker.errors import CemeshError, ChannelUnavailable
from broker.settings import Part, Settings
from broker.workers.link import Handler, Link

PARTS: Final = frozenset({Part.INGRESS, Part.DISPATCHER})
"""What such a process runs. Of sources only the first process runs any; all are called."""

_BEGINS: Final = 60.0
"""Seconds within which a process that was started can be called: that takes one at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker is told as it starts: it is ``number`` of so many ``processes``, from 0.

    ``path`` is where it finds plug-ins.
    """

    settings: Settings
    number: int
    processes: int
    path: Sequence[str]


class WorkerProcess:
    """A process that was started, and that ends by itself once nobody talks to it any more."""

    def __init__(self, process: Process, link: Link, connections: socket.socket) -> None:
        self.link = link
        self._process = process
        self._connections = connections

    @classmethod
    async def start(cls, assignment: Assignment, upstream: Mapping[str, Handler]) -> Self:
        """Start one that may call what is ``upstream``, and return it once it can be called.

        Raises a `CemeshError` where it ends before.
        """
        here, there = socket.socketpair()
        connections, handed = socket.socketpair()
        here.settimeout(0)
        connections.settimeout(0)
        with there, handed:
            ends = (there.fileno(), handed.fileno())
            command = (sys.executable, "-P", "-m", "broker.app.worker", *map(str, ends))
            process = await asyncio.create_subprocess_exec(*command, pass_fds=ends, stdin=PIPE)
        stdin = cast("asyncio.StreamWriter", process.stdin)
        stdin.write(pickle.dumps(assignment))
        stdin.close()
        started = cls(process, Link(f"worker {assignment.number}", handlers=upstream), connections)
        await started.link.open(here)
        try:
            async with asyncio.timeout(_BEGINS):
                await started.link.call("hello")
        except (ChannelUnavailable, TimeoutError):
            started.kill()
            await started.ended()
            raise CemeshError(
                f"worker {assignment.number} has ended before it could be told what to do"
                f" ({started.end}): see what it has printed"
            ) from None
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def end(self) -> str:
        """How it has ended, in words."""
        code = self._process.returncode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def take(self, connection: socket.socket) -> bool:
        """Hand it a connection, and return whether it takes one now."""
        try:
            socket.send_fds(self._connections, [b"c"], [connection.fileno()])
        except OSError:  # it has ended, or does not come round to those that it was handed
            return False
        connection.close()
        return True

    async def ended(self) -> None:
        """Return once it has ended."""
        await self._process.wait()
        self.link.close()
        self._connections.close()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
