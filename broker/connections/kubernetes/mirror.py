"""Keeps the objects of a collection in memory, in step with the API server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from broker.connections.kubernetes import api
from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.metadata import meta_of, version_in
from broker.connections.kubernetes.refusals import Busy, Ended, Gone
from broker.errors import UpstreamUnavailable

_log: Final = logging.getLogger("cemesh.kubernetes")

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
"""Seconds, which are varied by half either way: all that is mirrored fails at the same time."""

_LISTS_ANEW_AFTER: Final = 3
"""Failures to watch from where we are, which a server with older data than ours does not know."""

_NOT_ITS_MAKERS: Final = frozenset({"resourceVersion", "generation", "managedFields", "selfLink"})


def essence_of(found: Object) -> Object:
    """Return what people say in the object: without its status, and what follows from changes.

    What is written into a status comes back as a change, and is none.
    """
    meta = {name: each for name, each in found["metadata"].items() if name not in _NOT_ITS_MAKERS}
    return {**{name: each for name, each in found.items() if name != "status"}, "metadata": meta}


class Mirror:
    """``objects`` are those of the collection as they are by now, by ``namespace/name``.

    ``essences`` are what counts of them, as ``essence`` has it: ``changed`` is called when that is
    another of any object, or when it was listed for the first time, which ``synced`` tells.
    ``trouble`` is what it takes to go on: ``fared`` is called when that begins, changes, or ends.
    What is known stays, whatever the trouble is: what cannot be seen is not gone.
    """

    def __init__(
        self,
        access: Access,
        of: Collection,
        *,
        changed: Callable[[], None],
        fared: Callable[[], None],
        essence: Callable[[Object], Object] = essence_of,
    ) -> None:
        self.of = of
        self.objects: dict[str, Object] = {}
        self.essences: dict[str, Object] = {}
        self.synced = False
        self.trouble: UpstreamUnavailable | None = None
        self._access = access
        self._changed = changed
        self._fared = fared
        self._essence = essence
        self._version: str | None = None
        self._failures = 0
        self._is_ended = False  # the last watch, by an error: that the next one begins says nothing

    async def run(self) -> None:
        """Mirror until cancelled."""
        while True:
            pause = self._pause()
            try:
                if self._version is None:
                    await self._list()
                told = await self._watch(self._version or "0")
                # It has ended as it should. An API server may end them at once, again and again.
                pause = 0.0 if told else _FIRST_PAUSE
            except Gone:
                _log.info("place is gone", extra={"collection": self.of.path})
                self._version = None
                self._failures += 1
            except UpstreamUnavailable as error:
                if self._failures or not self.synced:  # else it is a watch that was cut off
                    self._fares(error)
                self._failures += 1
                self._is_ended = isinstance(error, Ended)
                if self._failures >= _LISTS_ANEW_AFTER:
                    self._version = None
                pause = error.seconds if isinstance(error, Busy) else pause
            await asyncio.sleep(pause)

    def _pause(self) -> float:
        # As many doublings as it takes, and no number that grows for ever.
        longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.5)  # noqa: S311 - not for secrets

    def _fares(self, trouble: UpstreamUnavailable | None) -> None:
        before, self.trouble = self.trouble, trouble
        if str(before) != str(trouble):
            self._fared()

    # --- lists -----------------------------------------------------------------------------

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        following: str | None = None
        while True:
            page = await api.page(self._access, self.of, following)
            for each in page.objects:
                found[_key(each)] = each
            following = page.following
            if following is None:
                break
        gone = self.objects.keys() - found.keys()
        news = [self._put(key, each) for key, each in found.items()]
        for key in gone:
            self._remove(key)
        is_first, self.synced = not self.synced, True
        self._version = page.version
        self._fares(None)
        if is_first or gone or any(news):
            self._changed()

    # --- watches ---------------------------------------------------------------------------

    async def _watch(self, version: str) -> bool:
        """Take in what happens until the watch ends; return whether anything did."""
        anything = False
        async with api.watch(self._access, self.of, version) as batches:
            if not self._is_ended:
                self._goes_well()
            async for changes in batches:
                anything = True
                self._goes_well()
                news = [self._take(each) for each in changes]
                self._version = version_in(changes[-1].object)
                if any(news):
                    self._changed()
        self._goes_well()
        return anything

    def _goes_well(self) -> None:
        self._failures, self._is_ended = 0, False
        self._fares(None)

    def _take(self, change: api.Change) -> bool:
        """Return whether the change is one that counts."""
        match change.type:
            case "ADDED" | "MODIFIED":
                return self._put(_key(change.object), change.object)
            case "DELETED":
                return self._remove(_key(change.object))
            case _:  # a bookmark: nothing has happened up to there
                return False

    def _put(self, key: str, found: Object) -> bool:
        found["metadata"].pop("managedFields", None)  # nobody asks for it, and it is large
        self.objects[key] = found
        before, now = self.essences.get(key), self._essence(found)
        if before == now:
            return False
        self.essences[key] = now
        return True

    def _remove(self, key: str) -> bool:
        self.objects.pop(key, None)
        return self.essences.pop(key, None) is not None


def _key(found: Object) -> str:
    meta = meta_of(found)
    return f"{meta.namespace}/{meta.name}"
