"""Runs a command that does not outlive its owner: `python leash.py OWNER COMMAND…`.

The command takes the place of this process, and so its id. A child stays behind that waits for
the end of either, the command or the process with the id OWNER. When the owner ends, however it
ends, the command is terminated, and killed where that does not help. Needs the standard library
alone, and no thread of the owner's: any may start the command, and may end before it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Final

_GRACE: Final = 10  # seconds


def main() -> None:
    owner, *command = sys.argv[1:]
    leashed = os.getpid()
    if os.fork() == 0:
        _watch(int(owner), leashed)
    else:
        os.execvp(command[0], command)  # noqa: S606  # no shell between the two


if sys.platform == "linux":

    def _watch(owner: int, leashed: int) -> None:
        # Handles of processes, not their ids: those may have been given to others by then.
        command = os.pidfd_open(leashed)
        try:
            owned = os.pidfd_open(owner)
        except ProcessLookupError:
            pass
        else:
            ended, _, _ = select.select([owned, command], [], [])
            if command in ended:
                return
        signal.pidfd_send_signal(command, signal.SIGTERM)
        ended, _, _ = select.select([command], [], [], _GRACE)
        if not ended:
            signal.pidfd_send_signal(command, signal.SIGKILL)

else:

    def _watch(owner: int, leashed: int) -> None:
        while os.getppid() == leashed and _lives(owner):
            time.sleep(0.5)
        if os.getppid() == leashed:
            os.kill(leashed, signal.SIGTERM)
            time.sleep(_GRACE)
        if os.getppid() == leashed:
            os.kill(leashed, signal.SIGKILL)

    def _lives(process: int) -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return True


if __name__ == "__main__":
    main()
