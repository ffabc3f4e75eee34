"""The stories of several processes as if one had kept them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from broker.ports.stories import Entry, Found, FoundPage, Stories, Wanted
from broker.workers.archive import Way


class RemoteStories:
    """See `Stories`: those of a worker."""

    def __init__(self, worker: Way) -> None:
        self._worker = worker

    async def of(self, ids: Collection[str]) -> Sequence[Entry]:
        entries: Sequence[Entry] = await self._worker.call("stories_of", ids)
        return entries

    async def search(self, wanted: Wanted, *, limit: int) -> FoundPage:
        page: FoundPage = await self._worker.call("search_stories", wanted, limit=limit)
        return page


class GatheredStories:
    """See `Stories`: an event may come into one process and be delivered by another."""

    def __init__(self, processes: Sequence[Stories]) -> None:
        self._processes = processes

    async def of(self, ids: Collection[str]) -> Sequence[Entry]:
        found = await asyncio.gather(*(each.of(ids) for each in self._processes))
        return sorted((entry for entries in found for entry in entries), key=lambda each: each.at)

    async def search(self, wanted: Wanted, *, limit: int) -> FoundPage:
        pages = await asyncio.gather(
            *(each.search(wanted, limit=limit) for each in self._processes)
        )
        latest: dict[tuple[str, str], Found] = {}
        for page in pages:
            for each in page.found:
                known = latest.setdefault((each.source, each.id), each)
                if known.at < each.at:
                    latest[each.source, each.id] = each
        found = sorted(latest.values(), key=lambda each: each.at, reverse=True)
        # Before that, one of them may have more than it has told.
        reached = max((page.reached for page in pages if page.reached is not None), default=None)
        if reached is not None:
            found = [each for each in found if each.at >= reached]
        if len(found) > limit:
            reached = found[limit - 1].at
            found = [each for each in found if each.at >= reached]
        return FoundPage(found=found, reached=reached)
