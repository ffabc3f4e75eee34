"""Clears objects away that have been emitted: that they are gone says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from broker.connections.s3 import Bucket, Listed, S3Error, said
from sources.s3.spec import S3Spec
from sources.s3.together import together

GONE: Final = frozenset({"NoSuchKey", "PreconditionFailed"})
"""What S3 says of an object that is not the same any more, or not there: others have it in hand."""


class Cleared:
    """Deletes or moves what was emitted. Nothing is to be saved.

    What S3 does not let go is remembered while this process runs, so as not to be emitted in each
    walk; ``trouble`` says why it did not.
    """

    def __init__(self, bucket: Bucket, spec: S3Spec) -> None:
        self._bucket = bucket
        self._spec = spec
        self._stuck: set[str] = set()
        self._left: set[str] = set()
        self._met: set[str] = set()
        self._failed: set[str] = set()
        self.after: str | None = None
        self.trouble: str | None = None

    async def restore(self) -> None:
        pass

    async def begin(self, now: datetime) -> None:
        self._met = set()
        self._failed = set()

    def is_new(self, listed: Listed) -> bool:
        return listed.version not in self._stuck and listed.version not in self._left

    def leave(self, listed: Listed) -> None:
        """Let it stay where it is, and let that be no trouble: it is nowhere else."""
        self._left.add(listed.version)

    async def emitted(self, objects: Sequence[Listed]) -> None:
        going = [each for each in objects if each.version not in self._left]
        await together(map(self._clear, going))

    async def passed(self, objects: Sequence[Listed]) -> None:
        self._met |= {each.version for each in objects}
        # Those of an earlier walk: those of this one were tried just now.
        again = self._stuck - self._failed
        await self.emitted([each for each in objects if each.version in again])

    async def end(self) -> None:
        self._stuck &= self._met
        self._left &= self._met
        if not self._stuck:
            self.trouble = None

    async def _clear(self, listed: Listed) -> None:
        try:
            moved = self._spec.moved(listed.key)
            if moved is not None:
                await self._bucket.copy(listed, moved)
            await self._bucket.delete(listed)
        except S3Error as error:
            if error.code not in GONE:
                self._stuck.add(listed.version)
                self._failed.add(listed.version)
                what = "deleted" if self._spec.move_to is None else "moved"
                self.trouble = (
                    f"what was emitted cannot be {what}, '{listed.key}' for one: "
                    f"{said(error, self._spec)}"
                )
                return
        self._stuck.discard(listed.version)
