"""What of a cluster is kept in memory, and whether it is in step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final

from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.mirror import Mirror, essence_of
from broker.connections.kubernetes.refusals import Refused

_log: Final = logging.getLogger("cemesh.kubernetes")


class Mirrors:
    """The mirrors that run by now, as tasks of ``tasks``.

    ``changed`` is called when what counts of an object has changed, and when a mirror begins to be
    in step; ``fared`` also when one begins to be out of step.
    """

    def __init__(
        self,
        access: Access,
        tasks: asyncio.TaskGroup,
        *,
        changed: Callable[[], None],
        fared: Callable[[], None],
    ) -> None:
        self.access: Final = access
        self._tasks = tasks
        self._changed = changed
        self._fared = fared
        self._running: dict[Mirror, asyncio.Task[None]] = {}
        self._told: set[str] = set()

    def __iter__(self) -> Iterator[Mirror]:
        return iter(list(self._running))

    @property
    def troubles(self) -> list[str]:
        """Why what was in step is so no longer, in words: nothing, where all of it is."""
        return list(
            dict.fromkeys(str(each.trouble) for each in self if each.synced and each.trouble)
        )

    def begin(self, of: Collection, *, essence: Callable[[Object], Object] = essence_of) -> Mirror:
        """Return a mirror of the collection, which runs from now on."""
        mirror = Mirror(self.access, of, changed=self._changed, fared=self._notice, essence=essence)
        self._running[mirror] = self._tasks.create_task(mirror.run())
        return mirror

    def end(self, mirror: Mirror) -> None:
        self._running.pop(mirror).cancel()
        self._tell()  # it may have been what was in trouble

    def _notice(self) -> None:
        self._tell()
        self._fared()

    def _tell(self) -> None:
        """Log each trouble once, until all is well again: all mirrors have the same one at once."""
        for each in self:
            why = str(each.trouble)
            if each.trouble is None or not each.synced or why in self._told:
                continue
            self._told.add(why)
            if isinstance(each.trouble, Refused) and each.trouble.status == 404:
                extra = {"kind": each.of.kind, "api_version": each.of.api_version, "why": why}
                _log.warning("kind is no longer served", extra=extra)
            else:
                _log.warning("cluster not followed", extra={"why": why})
        if self._told and not self.troubles:
            self._told.clear()
            _log.info("cluster followed again")
