"""Which objects of a bucket have been emitted, where they are kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from broker.connections.s3 import Listed
from broker.ports import Json, SourceContext

_DIGEST: Final = 8
"""Bytes that stand for an object: so many that, of millions, none is taken for another."""

_SAVED: Final = 4000
"""How many of them are saved at most: some 43 KB, where a place may have 64 KiB."""


class Kept:
    """What was modified before ``before`` is known, and of the others those that are ``seen``.

    S3 lists by key, and objects come late: one that is uploaded in parts was modified when its
    upload began. So ``before`` lies behind the server's clock, and a walk over all keys finds what
    came since. Where a walk has come to is saved, too: the first one may take long.
    """

    def __init__(self, context: SourceContext, *, look_back: timedelta, from_end: bool) -> None:
        self._context = context
        self._look_back = look_back
        self._from_end = from_end
        self._before: datetime | None = None
        self._seen: set[bytes] = set()
        self._passed: set[bytes] = set()
        self._next: datetime | None = None
        self._resumed = self._unsaved = self._found = False
        self.after: str | None = None
        self.trouble: str | None = None

    async def restore(self) -> None:
        """Take up what was saved last."""
        saved: dict[str, Any] | None = await self._context.load()
        if saved is None:
            return
        self._from_end = False
        self._before = _time(saved["before"])
        digests = base64.b64decode(saved["seen"])
        self._seen = {digests[at : at + _DIGEST] for at in range(0, len(digests), _DIGEST)}
        self.after, self._next = saved["after"], _time(saved["next"])
        self._resumed = self.after is not None

    async def begin(self, now: datetime) -> None:
        """Begin a walk over all keys, or go on with one; ``now`` is the server's clock."""
        if self._from_end:
            self._from_end = False
            self._before = now
            await self._save()
        if not self._resumed:
            self._next = now - self._look_back
            if self._before is not None:
                self._next = max(self._before, self._next)

    def is_new(self, listed: Listed) -> bool:
        if self._before is not None and listed.time < self._before:
            return False
        return _digest(listed) not in self._seen

    async def emitted(self, objects: Sequence[Listed]) -> None:
        """Know that these are emitted, which is saved with the page that they are of."""
        self._unsaved = self._unsaved or bool(objects)

    def leave(self, listed: Listed) -> None:
        """Let it stay where it is, as all the others do."""

    async def passed(self, objects: Sequence[Listed]) -> None:
        """Know that these are emitted, as all before them, new or not."""
        self._passed |= {
            _digest(each) for each in objects if self._next is None or each.time >= self._next
        }
        if objects:
            self.after = objects[-1].key
        if self._unsaved:
            self._unsaved, self._found = False, True
            await self._save()

    async def end(self) -> None:
        """Know that this was the last page of a walk."""
        # Of a walk that others began, nobody knows what is gone since.
        self._seen = self._seen | self._passed if self._resumed else self._passed
        self._passed = set()
        self._before, self._next, self.after = self._next, None, None
        self._resumed = False
        if self._found:
            self._found = False
            await self._save()

    async def _save(self) -> None:
        digests = sorted(self._seen | self._passed)[:_SAVED]
        place: Json = {
            "before": None if self._before is None else self._before.isoformat(),
            "seen": base64.b64encode(b"".join(digests)).decode(),
            "after": self.after,
            "next": None if self._next is None else self._next.isoformat(),
        }
        await self._context.save(place)


def _digest(listed: Listed) -> bytes:
    return hashlib.blake2b(listed.version.encode(), digest_size=_DIGEST).digest()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
