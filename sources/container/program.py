"""A program that runs on a leash (`sources.container.leash`) until it ends or is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, NoReturn, cast

from broker.errors import UpstreamUnavailable
from sources.container.lines import Lines

_LEASH: Final = Path(__file__).with_name("leash.py")

_GRACE: Final = 5.0
"""Seconds that a program has to end after SIGTERM."""

_SPARE: Final = 1.0
"""Seconds that the leash has beyond that, and then what was written last to be read."""

Stream = Literal["stdout", "stderr"]
Say = Callable[[Stream, str], None]


async def run_program(
    command: Sequence[str], folder: str | None, variables: Mapping[str, str], say: Say
) -> NoReturn:
    """Run the program in ``folder`` until it ends: raise `UpstreamUnavailable`, which says how.

    Cancelled, end it and all of its process group before: by SIGTERM and, 5 s later, by SIGKILL.
    ``say`` is given the lines that it writes.
    """
    ours, theirs = os.pipe()
    try:
        try:
            transport, leash = await _started(command, folder, variables, say, theirs)
        finally:
            os.close(theirs)
        try:
            await leash.ended.wait()
        finally:
            told = await _let_go(transport, leash, ours)
    finally:
        os.close(ours)
    raise UpstreamUnavailable(_how(command[0], told, leash.last_error))


async def _started(
    command: Sequence[str], folder: str | None, variables: Mapping[str, str], say: Say, status: int
) -> tuple[asyncio.SubprocessTransport, _Leash]:
    """Start the program on a leash that tells ``status``. Raises `UpstreamUnavailable`."""
    try:
        return await asyncio.get_running_loop().subprocess_exec(
            partial(_Leash, say),
            *(sys.executable, "-I", "-S", str(_LEASH)),
            *(str(status), str(_GRACE), folder or "", *command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=variables,
            pass_fds=(status,),
            start_new_session=True,  # Ctrl-C is for the mesh, which then ends this
        )
    except OSError as error:  # too long a command, or too many processes
        raise UpstreamUnavailable(_how(command[0], f"failed {error.strerror}", "")) from error


class _Leash(asyncio.SubprocessProtocol):
    """What comes from the process that holds the program; both write to the same pipes."""

    def __init__(self, say: Say) -> None:
        self.ended = asyncio.Event()
        self.silent = asyncio.Event()
        self._open = {1: Lines(partial(say, "stdout")), 2: Lines(partial(say, "stderr"))}
        self._stderr = self._open[2]

    @property
    def last_error(self) -> str:
        """The last line of its standard error."""
        return self._stderr.last

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._open[fd].feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if (lines := self._open.pop(fd, None)) is not None:
            lines.end()
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


def _how(program: str, told: str, last_error: str) -> str:
    kind, _, rest = told.partition(" ")
    if kind == "failed":
        return f"{program} cannot be started: {rest}"
    if kind != "ended":
        how = "was killed, with the process that watched it"
    elif (code := int(rest)) < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    else:
        how = f"ended with exit code {code}"
    return f"{program} {how}: {last_error}" if last_error else f"{program} {how}"
