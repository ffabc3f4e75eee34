"""Runs a program, and ends it when whoever started this is gone: a process of its own.

It is run as a script: ``python -I -S leash.py STATUS GRACE FOLDER INPUT COMMAND…``. The end of its
standard input is what ends the program, which reads the file INPUT itself: so a mesh which is
killed takes it along, as nobody else holds the other end of that pipe. A signal at the death of
the parent would do so only on Linux, only for the program itself, and has to be asked for between
fork and exec, where a process with threads may run no Python.

The program leads a group of processes: SIGTERM goes to all of it and, GRACE seconds later,
SIGKILL; what is left of it when the program itself has ended is killed. To the file descriptor
STATUS goes ``pid N``, then ``ended CODE`` (a signal is negative); or ``failed WHY``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress


def main(arguments: Sequence[str]) -> None:
    status, grace, folder, given, *command = arguments
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # What a service manager sends to all processes of a service: the mesh ends this one. A
        # function, and not SIG_IGN, which the program would inherit.
        signal.signal(each, lambda *_: None)
    told = int(status)
    try:
        with open(given, "rb") as stdin:  # noqa: PTH123 - pathlib takes long to import
            program = subprocess.Popen(  # noqa: S603 - what the manifest says
                command, stdin=stdin, cwd=folder or None, process_group=0
            )
    except OSError as error:
        _tell(told, f"failed {error.filename}: {error.strerror}")
        return
    _tell(told, f"pid {program.pid}")
    threading.Thread(target=_end, args=(program.pid, float(grace)), daemon=True).start()
    code = program.wait()
    _send(program.pid, signal.SIGKILL)
    _tell(told, f"ended {code}")


def _end(group: int, grace: float) -> None:
    """End the program once standard input has come to its end."""
    while os.read(0, 1024):
        pass
    _send(group, signal.SIGTERM)
    time.sleep(grace)
    _send(group, signal.SIGKILL)


def _send(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _tell(status: int, text: str) -> None:
    with suppress(BrokenPipeError):  # the mesh is gone
        os.write(status, f"{text}\n".encode(errors="backslashreplace"))


if __name__ == "__main__":
    main(sys.argv[1:])
