"""Reading the stream of what is known: from a summary on, and after a while elsewhere."""

from __future__ import annotations

from typing import Final

from broker.channels.rabbitmq.entries import UNREADABLE, Entry, Summary
from broker.channels.rabbitmq.ledger import Ledger

SUMMED_UP_EVERY: Final = 1 << 20
"""Bytes of entries after which there is to be another summary; more if summaries are longer."""

_OF_A_MESSAGE: Final = 200
"""Bytes that a message takes in a stream beside its body, roughly."""


class Replay:
    """What a reader of the stream knows, which ends at the offset ``end`` when it begins.

    ``summed`` is the offset up to which a summary covers all, as others say, or None; there it
    begins to read. What it reads before it has met that summary is kept aside, as it goes on from
    it; until then its ``ledger`` knows nothing. -1 is a summary of another stream: see `renew`.
    """

    def __init__(self, end: int = 0, summed: int | None = None) -> None:
        self.ledger = Ledger()
        self.summed = summed
        self.position = max(0, summed or 0)
        self._aside: list[tuple[int, Entry]] | None = [] if end else None
        self._first: int | None = None
        self._resumes = False
        self._unsummed = 0
        self._longest_unsummed = SUMMED_UP_EVERY
        self._is_renewed = False

    @property
    def is_whole(self) -> bool:
        """Whether the ledger knows all that was read, and all that was told before that."""
        return self._aside is None

    @property
    def lacks_a_summary(self) -> bool:
        """Whether there is to be a new one."""
        is_due = self._is_renewed or self._unsummed > self._longest_unsummed
        return self.is_whole and is_due

    def summary(self, at: int) -> Summary:
        """Return what is known at ``at``, in microseconds since 1970."""
        return self.ledger.summary(self.position - 1, at=at)

    def resume(self) -> int:
        """Return where to read on: at the last entry, to see whether all is there from it on.

        The offset of the next one would not do, as not every offset has an entry.
        """
        self._resumes = True
        return max(0, self.position - 1)

    def renew(self) -> None:
        """Go on with another stream, in the place of the one that was read."""
        self.position = 0
        self.summed = -1
        self._is_renewed = True
        if self._aside is not None:
            self._aside, self._first = [], None

    def take(self, offset: int, entry: Entry | None, size: int) -> None:
        """Take the next message of the stream, or one again; None stands for one that is no entry.

        ``size`` is that of its body, in bytes.
        """
        if self._resumes:
            self._resumes = False
            if offset > self.position:  # what was next may be gone
                self._aside, self._first = [], None
        self.position = offset + 1
        self._unsummed += _OF_A_MESSAGE + size
        if self._first is None:
            self._first = offset
            if offset == 0 and self.summed is None:
                self._aside = None
        if entry is None:
            return
        if self._aside is None:
            self.ledger.apply(entry)
        else:
            self._seek(self._aside, offset, entry)
        if entry.summary is not None and self.is_whole:
            self.summed = entry.summary.through
            self._longest_unsummed = max(SUMMED_UP_EVERY, size)
            self._unsummed = 0
            self._is_renewed = False

    def _seek(self, aside: list[tuple[int, Entry]], offset: int, entry: Entry) -> None:
        """Begin with the entry's summary if all is there that it does not cover."""
        found = self._begin(entry.summary)
        if found is None:
            aside.append((offset, entry))
            return
        self.ledger, through = found
        for at, each in aside:
            if at > through:
                self.ledger.apply(each)
        self.ledger.apply(entry)
        self._aside = None

    def _begin(self, summary: Summary | None) -> tuple[Ledger, int] | None:
        if summary is None or self._first is None or summary.through < self._first - 1:
            return None
        try:
            return Ledger.from_summary(summary.contents), summary.through
        except UNREADABLE:
            return None
