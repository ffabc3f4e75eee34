"""Writing to the stream of what is known, so that every count counts once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from broker.channels.rabbitmq.entries import Counts, Entry
from broker.channels.rabbitmq.ledger import Ledger


class Author:
    """Numbers the entries of one process, and tells who it is when others may not know.

    An entry that introduces the process is to be read before the next one is written. So the
    process always knows which of its counts have melted (see `Ledger`), however long it was held
    up in between. The first entry is to tell nothing, should it be stored without being confirmed.

    ``read_up_to`` is the number of the last one that was read.
    """

    def __init__(self, process: str) -> None:
        self.process: Final = process
        self.read_up_to = 0
        self._number = 0
        self._introduced = 0
        self._told: dict[str, Counts] = {}
        self._melted: Mapping[str, Counts] = {}

    @property
    def has_begun(self) -> bool:
        """Whether an entry is stored that introduces the process."""
        return self._introduced > 0

    @property
    def may_go_on(self) -> bool:
        """Whether the next entry may be written."""
        return self.read_up_to >= self._introduced

    def sign(self, entry: Entry, ledger: Ledger, *, at: int, summed: int | None) -> Entry:
        """Return the entry as it is to be written next, at ``at`` (microseconds since 1970).

        ``ledger`` is what is known now, ``summed`` up to which offset a summary covers all.
        """
        self._number = max(self._number, ledger.number(self.process)) + 1
        self._told |= entry.counts
        is_counted = ledger.counted(self.process) is not None
        return msgspec.structs.replace(
            entry,
            process=self.process,
            number=self._number,
            at=at,
            melted=None if is_counted else self._melted,
            counts=entry.counts if is_counted else dict(self._told),
            summed=summed,
        )

    def confirmed(self, signed: Entry) -> None:
        """Note that this is stored."""
        if signed.melted is not None:
            self._introduced = signed.number

    def read(self, entry: Entry, before: Mapping[str, Counts] | None, ledger: Ledger) -> None:
        """Note that this was read: ``before`` that, these counts of the process counted."""
        if entry.process == self.process:
            self.read_up_to = max(self.read_up_to, entry.number)
        if before is not None and ledger.counted(self.process) is None:
            self._melted = dict(before)

    def skip(self) -> None:
        """Note that what was written and not read may never be."""
        self.read_up_to = self._number

    def must_tell_again(self, ledger: Ledger) -> bool:
        """Return whether something that the process has told is not counted, as it melted.

        That is what it told since, and what it has in hand: of those that melt, nothing is.
        """
        if not self.may_go_on or ledger.counted(self.process) is not None:
            return False
        return self._told != self._melted or any(
            each.in_hand or each.taken != each.delivered + each.dead_lettered
            for each in self._told.values()
        )
