"""One process at a time in a data directory, and a name for the one that is in it."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from broker.errors import DataDirectoryInUse


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder while the context lasts; raise `DataDirectoryInUse` if another does.

    The lock is the kernel's, so it ends with the process however that ends; the text in the
    file only tells people who holds it.
    """
    path = folder / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DataDirectoryInUse(
                f"the data directory {folder} is in use by {file.read().strip() or 'a process'}; "
                "stop it first, or give this one another --data-dir"
            ) from None
        file.truncate(0)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        program = Path(sys.argv[0]).name or "python"
        file.write(f"process {os.getpid()} ({program}, since {started})\n")
        file.flush()
        yield
        file.truncate(0)
