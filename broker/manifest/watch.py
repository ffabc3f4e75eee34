"""Watches the files of a manifest.

By polling, not by inotify or its like: it works the same on network file systems, on the
mounts of containers, and on Kubernetes' ConfigMap volumes, where a file never changes but a
link above it is put to another folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from broker.errors import Problem
from broker.manifest.files import manifest_files

INTERVAL: Final = timedelta(milliseconds=200)

Fingerprint = tuple[tuple[str, int, int, int, int], ...]


def changes(paths: Sequence[Path], *, interval: timedelta = INTERVAL) -> AsyncIterator[None]:
    """Yield each time the files have changed and then been still for one ``interval``.

    What counts as a change is what happens after this call, also before the first step of the
    iteration, so: call this, then load, then iterate, and no change falls in between. Files
    that appear and vanish are changes. Blocks until the files have been looked at once.
    """
    return _changes(paths, fingerprint(paths), interval)


async def _changes(
    paths: Sequence[Path], known: Fingerprint, interval: timedelta
) -> AsyncIterator[None]:
    previous = known
    while True:
        await asyncio.sleep(interval.total_seconds())
        # In a thread: a thousand files take milliseconds, a slow mount any time.
        current = await asyncio.to_thread(fingerprint, paths)
        if current == previous and current != known:
            known = current
            yield
        previous = current


def fingerprint(paths: Sequence[Path]) -> Fingerprint:
    """Return what differs whenever a file was written, replaced, added, moved or removed."""
    return tuple(map(_mark, manifest_files(paths)))


def _mark(each: Path | Problem) -> tuple[str, int, int, int, int]:
    if isinstance(each, Problem):
        return str(each), 0, 0, 0, 0
    try:
        status = each.stat()
    except OSError as error:  # it vanished, or its folder was closed to us, since it was listed
        return f"{each}: {error}", 0, 0, 0, 0
    return str(each), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
