"""A program that runs on a leash (`broker.programs.leash`) until it ends or is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

_LEASH: Final = Path(__file__).with_name("leash.py")

_GRACE: Final = 5.0
"""Seconds that a program has to end after SIGTERM."""

_SPARE: Final = 1.0
"""Seconds that the leash has beyond that, and then what was written last to be read."""


class Output(Protocol):
    """Takes what a program writes to one of its streams."""

    def feed(self, data: bytes) -> None:
        """Take what was written next."""
        ...

    def end(self) -> None:
        """Know that no more comes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program has ended, or could not be started: ``how`` says which, in words.

    ``well`` is whether it has ended with exit code 0.
    """

    how: str
    well: bool = False


async def run_program(
    command: Sequence[str],
    folder: str | None,
    variables: Mapping[str, str],
    *,
    out: Output,
    err: Output,
    stdin: str = os.devnull,
    held: Sequence[int] = (),
) -> Ended:
    """Run the program in ``folder`` until it ends, and say how it did.

    Cancelled, end it and all of its process group before: by SIGTERM and, 5 s later, by SIGKILL.
    The file ``stdin`` is what it reads. The descriptors ``held`` stay open as long as it is
    watched, also when this process is killed.
    """
    ours, theirs = os.pipe()
    starting = asyncio.ensure_future(
        _started(
            (str(theirs), str(_GRACE), folder or "", stdin, *command),
            variables,
            (out, err),
            (theirs, *held),
        )
    )
    starting.add_done_callback(lambda _: os.close(theirs))
    try:
        told = await _told(starting, ours)
    except OSError as error:  # too long a command, or too many processes
        told = f"failed {error.strerror}"
    finally:
        os.close(ours)
    return _ended(command[0], told)


async def _told(
    starting: asyncio.Future[tuple[asyncio.SubprocessTransport, _Leash]], status: int
) -> str:
    """Return what the leash has told last, once it was started and it and the program have ended.

    Raises `OSError` where it cannot be started.
    """
    told = ""
    try:
        await asyncio.wait([starting])
        _, leash = starting.result()
        await leash.ended.wait()
    finally:
        # Cancelled, too: of a process whose start is, asyncio connects pipes that nobody closes.
        await asyncio.wait([starting])
        if starting.exception() is None:
            told = await _let_go(*starting.result(), status)
    return told


async def _started(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    outputs: tuple[Output, Output],
    descriptors: Sequence[int],
) -> tuple[asyncio.SubprocessTransport, _Leash]:
    """Start the leash, which starts the program."""
    return await asyncio.get_running_loop().subprocess_exec(
        lambda: _Leash(*outputs),
        *(sys.executable, "-I", "-S", str(_LEASH), *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=variables,
        pass_fds=descriptors,
        start_new_session=True,  # Ctrl-C is for the mesh, which then ends this
    )


class _Leash(asyncio.SubprocessProtocol):
    """What comes from the process that holds the program; both write to the same pipes."""

    def __init__(self, out: Output, err: Output) -> None:
        self.ended = asyncio.Event()
        self.silent = asyncio.Event()
        self._open = {1: out, 2: err}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._open[fd].feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if (output := self._open.pop(fd, None)) is not None:
            output.end()
        if not self._open:
            self.silent.set()

    def process_exited(self) -> None:
        self.ended.set()


async def _let_go(transport: asyncio.SubprocessTransport, leash: _Leash, status: int) -> str:
    """Return what the leash has told last, once it and the program have ended."""
    stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE + _SPARE):
            await leash.ended.wait()
    told = _read(status)
    if told.startswith("pid "):  # that is all: the leash was killed, or hangs
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(told.removeprefix("pid ")), signal.SIGKILL)
    with suppress(TimeoutError):  # where what has left the group still holds the pipes
        async with asyncio.timeout(_SPARE):
            await leash.silent.wait()
    transport.close()  # which kills it if it still runs
    return told


def _read(status: int) -> str:
    """Return the last line that was written there."""
    os.set_blocking(status, False)
    try:
        lines = os.read(status, 1 << 16).decode(errors="backslashreplace").splitlines()
    except BlockingIOError:
        lines = []
    return lines[-1] if lines else ""


def _ended(program: str, told: str) -> Ended:
    kind, _, rest = told.partition(" ")
    if kind == "failed":
        return Ended(how=f"{program} cannot be started: {rest}")
    if kind != "ended":
        return Ended(how=f"{program} was killed, with the process that watched it")
    if (code := int(rest)) < 0:
        return Ended(how=f"{program} was killed by {signal.Signals(-code).name}")
    return Ended(how=f"{program} ended with exit code {code}", well=code == 0)
