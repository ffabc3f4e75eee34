"""Servers as processes of their own, which do not outlive the tests.

Everything here blocks, for seconds: on an event loop, use a thread.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from tests.services import leash

_Process = subprocess.Popen[bytes]


class Server(ABC):
    """A server that runs while it is entered, and may be killed and started again meanwhile.

    Settings, certificates, ports, data and log outlive its process, so that what is started
    again is the same server. ``name`` is what it is called where it fails, and ``log`` takes
    all that it prints.
    """

    def __init__(self, name: str, log: Path) -> None:
        self._name = name
        self._log = log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
        if error is not None:
            error.add_note(log_end(self._name, self._log))

    @abstractmethod
    def start(self, *, within: float = 45) -> None:
        """Start the process and return once it answers.

        Raises:
            RuntimeError: It ended, or did not answer ``within`` so many seconds.
        """

    @abstractmethod
    def stop(self, *, within: float = 20) -> None:
        """Let the process end in order and return once it has; raise TimeoutExpired if not."""

    @abstractmethod
    def kill(self) -> None:
        """End the process as a crash would, and return once it is gone."""

    def restart(self) -> None:
        """Let the process end in order and start it again."""
        self.stop()
        self.start()


class Leashed:
    """A process that ends, whatever becomes of the tests, when the one with the id ``owner`` does.

    ``name`` is what it is called where it fails, and ``log`` takes all that it prints.
    """

    def __init__(self, name: str, log: Path, *, owner: int) -> None:
        self._name = name
        self._log = log
        self._owner = owner
        self._process: _Process | None = None

    def start(self, command: Sequence[str], *, folder: Path | None = None) -> None:
        """Start the command, in that folder if one is given."""
        assert self._process is None, "it is running"
        leashed = (sys.executable, "-I", "-S", leash.__file__, str(self._owner), *command)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt is for the tests
            )

    def wait_until(self, it_answers: Callable[[], bool], *, deadline: float) -> None:
        """Return once the process answers.

        Raises:
            RuntimeError: It ended, or time.monotonic() is past the deadline.
        """
        assert self._process is not None, "it is not running"
        while not it_answers():
            if self._process.poll() is not None:
                what = f"ended with {self._process.returncode} before it answered"
                raise RuntimeError(f"{self._name} {what}\n{log_end(self._name, self._log)}")
            if time.monotonic() > deadline:
                end = log_end(self._name, self._log)
                raise RuntimeError(f"{self._name} does not answer\n{end}")
            time.sleep(0.05)

    def stop(self, *, within: float) -> None:
        """Let it end in order and return once it has; raise TimeoutExpired if it does not."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(within)
            self._process = None

    def kill(self, by: Callable[[_Process], None] = _Process.kill) -> None:
        """End it as a crash would, and return once it is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                by(self._process)
            self._process.wait()
            self._process = None

    def wait(self) -> int:
        """Return the exit code once it has ended by itself."""
        assert self._process is not None, "it is not running"
        return self._process.wait()


_SHOWN: Final = 40


def log_end(name: str, log: Path) -> str:
    """Return the last lines of a server's log."""
    lines = log.read_text(errors="backslashreplace").splitlines()[-_SHOWN:]
    return "\n".join([f"--- the end of what {name} printed", *lines, "---"])


def listened_to(address: str) -> bool:
    """Return whether anything listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True
