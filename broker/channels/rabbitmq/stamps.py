"""Stamps: what tells one message from every other, and when its event was accepted."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from broker.channels.clock import now

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# The time in microseconds since 1970, the process, a number of its own, and which message about
# the event it is; all in hexadecimal.
_STAMP: Final = re.compile("([0-9a-f]{14})-[0-9a-f]{16}-[0-9a-f]{1,16}(?:-([0-9a-f]{1,16}))?")


class Stamps:
    """Makes the stamps of one process: message ids that no other message has.

    ``process`` is its name, drawn anew at every start. The times of stamps that are made one after
    another never go back.
    """

    def __init__(self) -> None:
        self.process: Final = secrets.token_hex(8)
        self._numbers = count(1)
        self._latest = 0

    def new(self) -> str:
        """Return the stamp of a message whose event is accepted now."""
        return self.several(1)[0]

    def several(self, count: int) -> list[str]:
        """Return the stamps of messages whose events are accepted together, now."""
        self._latest = max(self._latest, now())
        return [self._stamp(self._latest) for _ in range(count)]

    def following(self, stamp: str | None, at: int) -> str:
        """Return the stamp of the message that is to take the place of the one with ``stamp``.

        It is the same whoever asks, and however often; but for a message without a stamp, whose
        event was accepted at ``at`` (microseconds since 1970).
        """
        found = None if stamp is None else _STAMP.fullmatch(stamp)
        if stamp is None or found is None:
            return self._stamp(at)
        if found[2] is None:
            return f"{stamp}-1"
        return f"{stamp[: found.start(2)]}{int(found[2], 16) + 1:x}"

    def _stamp(self, at: int) -> str:
        return f"{at:014x}-{self.process}-{next(self._numbers):x}"


def accepted_at(stamp: str | None) -> int | None:
    """Return when a message's event was accepted, in microseconds since 1970.

    None where the message id is no stamp: others published the message.
    """
    found = _STAMP.fullmatch(stamp) if stamp is not None else None
    return int(found[1], 16) if found else None


def original(stamp: str) -> str:
    """Return the stamp of the first message about the event, in whose place this one has come."""
    found = _STAMP.fullmatch(stamp)
    return stamp if found is None or found[2] is None else stamp[: found.start(2) - 1]


def time_of(microseconds: int) -> datetime:
    """Return the time that so many microseconds since 1970 are."""
    return _EPOCH + timedelta(microseconds=microseconds)
