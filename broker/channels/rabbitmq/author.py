"""Writing to the stream of what is known, so that every count counts once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from broker.channels.rabbitmq.entries import Counts, Entry
from broker.channels.rabbitmq.ledger import Ledger


class Author:
    """Numbers the entries of one process, and tells who it is when others may not know.

    The process begins with an entry that tells nothing: should that be stored twice, or late,
    nothing is counted twice. When it has melted (see `Ledger`), it tells with what, and all of
    its counts anew.
    """

    def __init__(self, process: str) -> None:
        self.process: Final = process
        self._number = 0
        self._told: dict[str, Counts] = {}
        self._melted: Mapping[str, Counts] | None = None

    def has_begun(self, ledger: Ledger) -> bool:
        """Return whether others know of the process. Ask the latest ledger before `sign`."""
        return self._melted is not None or ledger.number(self.process) > 0

    def sign(self, entry: Entry, ledger: Ledger, *, at: int, summed: int | None) -> Entry:
        """Return the entry as it is to be written next, at ``at`` (microseconds since 1970)."""
        self._number = max(self._number, ledger.number(self.process)) + 1
        signed = msgspec.structs.replace(
            entry, process=self.process, number=self._number, at=at, summed=summed
        )
        if not self.has_begun(ledger):
            return msgspec.structs.replace(signed, begins=True)
        self._told |= entry.counts
        if ledger.counted(self.process) is None:
            melted = self._melted or {}
            return msgspec.structs.replace(signed, revives=melted, counts=dict(self._told))
        return signed

    def counted(self, before: Mapping[str, Counts] | None, ledger: Ledger) -> None:
        """Note what counted of the process before the next entry was read, if no more does."""
        if before is not None and ledger.counted(self.process) is None:
            self._melted = dict(before)

    def must_tell_again(self, ledger: Ledger) -> bool:
        """Return whether the process has told something since it melted, which is not counted."""
        is_counted = self._melted is None or ledger.counted(self.process) is not None
        return not is_counted and self._told != self._melted
