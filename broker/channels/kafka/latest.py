"""Which of several records of a key counts, whatever order they stand in and whichever are left.

A compacted topic keeps the last record of each key. After partitions have changed hands that may
be one of a process that did not know it yet. So every record has a stamp: the writer's epoch, and
behind it a number that grows with every change. The highest stamp counts; and where it is not the
last record of its key, it is to be written again, with the same stamp, before compaction leaves
only the wrong one. Doing so twice, or by several processes, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Stamp(NamedTuple):
    """When something was written: compared by epoch, then by number."""

    epoch: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a record says of its key. ``value`` is None where the key is deleted."""

    stamp: Stamp
    value: bytes | None


class Latest:
    """What counts of all that was read and written. Deleted keys are remembered, for their stamps.

    A stamp must not be given to two different values of a key: an epoch is one writer's.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._overtaken: dict[str, None] = {}
        self._number = 0

    def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def values(self, prefix: str) -> Mapping[str, bytes]:
        """Return the keys that begin with ``prefix`` and are not deleted, with their values."""
        return {
            key: entry.value
            for key, entry in self._entries.items()
            if entry.value is not None and key.startswith(prefix)
        }

    def epoch(self, prefix: str) -> int:
        """Return the highest epoch of keys that begin with ``prefix``, deleted or not; or -1."""
        stamps = (each.stamp for key, each in self._entries.items() if key.startswith(prefix))
        return max((stamp.epoch for stamp in stamps), default=-1)

    def is_held(self, key: str, epoch: int) -> bool:
        """Return whether the key was written under a higher epoch than this."""
        entry = self._entries.get(key)
        return entry is not None and entry.stamp.epoch > epoch

    def stamp(self, epoch: int) -> Stamp:
        """Return a stamp higher than any of the same epoch that is known here."""
        self._number += 1
        return Stamp(epoch, self._number)

    def wrote(self, key: str, entry: Entry) -> None:
        """Note what was written here and is durable."""
        known = self._entries.get(key)
        if known is None or entry.stamp >= known.stamp:
            self._entries[key] = entry

    def read(self, key: str, entry: Entry | None) -> bool:
        """Note the next record, None if it cannot be read; return whether it changed anything."""
        known = self._entries.get(key)
        if entry is None or (known is not None and entry.stamp < known.stamp):
            if known is not None:
                self._overtaken[key] = None
            return False
        self._overtaken.pop(key, None)
        self._entries[key] = entry
        self._number = max(self._number, entry.stamp.number)
        return known is None or entry.stamp > known.stamp

    def overtaken(self) -> Mapping[str, Entry]:
        """Return what is to be written again, in the order in which it was overtaken."""
        return {key: self._entries[key] for key in self._overtaken}
