"""Follows a collection: lists it, watches it from there on, and lists it anew where it must."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from broker.connections.kubernetes import api
from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.metadata import Meta, meta_of, version_in
from broker.connections.kubernetes.refusals import Gone
from broker.errors import UpstreamUnavailable
from sources.apiserver.objects import Fate, is_owned, remains
from sources.apiserver.places import Place
from sources.apiserver.spec import ObjectType

_log: Final = logging.getLogger("cemesh.sources.apiserver")

_LISTS_AT_MOST: Final = 3
_WATCHES_AGAIN_AFTER: Final = 1.0
"""Seconds after a watch that told nothing: an API server may end them at once, again and again."""

_FATES: Final[dict[str, Fate]] = {"ADDED": "add", "MODIFIED": "update", "DELETED": "delete"}

Told = tuple[Fate, Object]
Tell = Callable[[Collection, Sequence[Told]], Awaitable[None]]
"""Return once the events that tell so are durable."""


class Follower:
    """Tells what becomes of the objects of a collection, and moves its place after that.

    ``owner`` is the type of what has to control them, if anything. ``moved`` is called when the
    place has changed, ``saved`` returns once it is durable, and ``watches`` is called when a watch
    has begun.
    """

    def __init__(
        self,
        access: Access,
        of: Collection,
        place: Place,
        *,
        owner: ObjectType | None,
        tell: Tell,
        moved: Callable[[], None],
        saved: Callable[[], Awaitable[None]],
        watches: Callable[[], None],
    ) -> None:
        self._access = access
        self._of = of
        self._place = place
        self._owner = owner
        self._tell = tell
        self._moved = moved
        self._saved = saved
        self._watches = watches

    async def run(self) -> None:
        """Follow until cancelled. Raises `UpstreamUnavailable`."""
        while True:
            if self._place.version is None:
                await self._list()
            told = False
            try:
                told = await self._watch(self._place.version or "0")
            except Gone:
                _log.info("place is gone", extra={"collection": self._of.path})
                self._place.version = None
            if not told:
                await asyncio.sleep(_WATCHES_AGAIN_AFTER)

    # --- lists -----------------------------------------------------------------------------

    async def _list(self) -> None:
        """Tell how what is there differs from what was known."""
        for _ in range(_LISTS_AT_MOST):
            try:
                await self._compare()
            except Gone:
                continue
            return
        raise UpstreamUnavailable(
            f"{_LISTS_AT_MOST} lists of {self._of.path} were out of date before their end was read"
        )

    async def _compare(self) -> None:
        known = self._place.known
        keys = {(each.namespace, each.name): key for key, each in known.items()}
        missing = set(known)
        following: str | None = None
        while True:
            page = await api.page(self._access, self._of, following)
            told: list[Told] = []
            for each in filter(self._is_wanted, page.objects):
                meta = meta_of(each)
                missing.discard(meta.key)
                # One that has the name of a deleted one comes after that is told.
                before = keys.get((meta.namespace, meta.name), meta.key)
                if before in missing:
                    missing.discard(before)
                    told.append(("delete", remains(known[before], self._of)))
                if meta.key not in known:
                    told.append(("add", each))
                elif known[meta.key].resource_version != meta.resource_version:
                    told.append(("update", each))
            await self._pass_on(told)
            following = page.following
            if following is None:
                break
        await self._pass_on([("delete", remains(known[key], self._of)) for key in missing])
        self._place.version = page.version
        # Before the first change: without a place, nobody would miss what was deleted by then.
        await self._saved()

    # --- watches ---------------------------------------------------------------------------

    async def _watch(self, version: str) -> bool:
        """Tell what happens until the API server ends the watch; return whether anything did."""
        anything = False
        async with api.watch(self._access, self._of, version) as batches:
            self._watches()
            async for changes in batches:
                anything = True
                told = [
                    (_FATES[each.type], each.object)
                    for each in changes
                    if each.type in _FATES and self._is_wanted(each.object)
                ]
                await self._pass_on(told)
                # A bookmark is no more than this: nothing happened up to there.
                self._place.version = version_in(changes[-1].object)
                self._moved()
        return anything

    # --- both ------------------------------------------------------------------------------

    def _is_wanted(self, found: Object) -> bool:
        return self._owner is None or is_owned(found, self._owner)

    async def _pass_on(self, told: Sequence[Told]) -> None:
        if not told:
            return
        await self._tell(self._of, told)
        for fate, found in told:
            meta = meta_of(found)
            if fate == "delete":
                self._place.known.pop(meta.key, None)
            else:
                self._place.known[meta.key] = Meta(
                    name=meta.name,
                    namespace=meta.namespace,
                    uid=meta.uid,
                    resource_version=meta.resource_version,
                )
        self._moved()
