"""Writes statuses, unhurried: no API server has to cope with a thousand of them at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Final

from broker.connections.kubernetes import api
from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.changing import CONFLICT, Changer, Resource, difference
from broker.connections.kubernetes.collections import Object
from broker.connections.kubernetes.refusals import Refused

_log: Final = logging.getLogger("cemesh.kubernetes")

AT_MOST: Final = 100
"""Statuses that are written before it is looked again at what they should be."""

_AT_ONCE: Final = 8
_EACH_SECOND: Final = 50
_TRIES: Final = 5
"""How often an object is read again that others change at the same time."""

_LEAVES_ALONE_FOR: Final = 30.0
"""Seconds after which something is tried again that we may not do, or that is not taken."""

_LEFT_ALONE: Final = frozenset({400, 403, 404, 405, 413, 415, 422})

Wanted = Callable[[Object], Mapping[str, Any]]
"""Return the status that an object should have."""


class Writer:
    """Writes the statuses of objects, each of which is what was seen of it last.

    What it has written it remembers, until that is what is seen.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._changer = Changer(access)
        self._plurals: dict[str, Mapping[str, api.Named]] = {}
        self._written: dict[str, tuple[str, Object]] = {}
        self._cut: dict[str, Mapping[str, Any]] = {}
        self._left_alone: dict[str, float] = {}
        self._told: set[str] = set()
        self._next = 0.0

    def is_new(self, subject: str, found: Object, wanted: Wanted) -> bool:
        """Return whether the object should have another status than it has, and can have it."""
        known = self._known(subject, found)
        status = wanted(known)
        return status != known.get("status") and status != self._cut.get(subject)

    def _known(self, subject: str, found: Object) -> Object:
        """Return the object as it is, as far as is known here."""
        seen, written = self._written.get(subject, ("", found))
        if seen == _version(found):
            return written
        self._written.pop(subject, None)
        return found

    def keep(self, subjects: Container[str]) -> None:
        """Forget all objects but these."""
        for notes in (self._written, self._cut, self._left_alone):
            for each in [each for each in notes if " " in each and each not in subjects]:
                del notes[each]

    def leaves_alone(self, subject: str) -> bool:
        """Return whether the status of that, or of all of its kind, could not be written lately."""
        now = _clock()
        return any(
            self._left_alone.get(each, now) > now for each in (subject, subject.partition(" ")[0])
        )

    async def write(self, objects: Iterable[tuple[str, Object]], wanted: Wanted) -> None:
        """Give these objects, by their subjects, the statuses that they should have.

        Raises `UpstreamUnavailable` where the API server is away.
        """
        left = deque(objects)

        async def work() -> None:
            while left:
                subject, found = left.popleft()
                await self._turn()
                await self._write(subject, found, wanted)

        working = [asyncio.ensure_future(work()) for _ in range(min(_AT_ONCE, len(left)))]
        try:
            await asyncio.gather(*working)
        finally:
            for each in working:
                each.cancel()
            if working:
                await asyncio.wait(working)

    async def _turn(self) -> None:
        now = _clock()
        self._next = max(self._next, now) + 1 / _EACH_SECOND
        await asyncio.sleep(self._next - now)

    async def _write(self, subject: str, found: Object, wanted: Wanted) -> None:
        meta = found["metadata"]
        namespace, name, known = meta["namespace"], meta["name"], self._known(subject, found)
        try:
            of = await self._resource(found)
            for _ in range(_TRIES):
                patch = _patch(known, wanted(known))
                if patch is None:
                    break
                try:
                    known = await self._changer.patch(of, namespace, name, patch)
                    break
                except Refused as refused:
                    if refused.status != CONFLICT:
                        raise
                known = await self._changer.read(of, namespace, name)
                if _is_another(known, found):
                    return  # it will be seen, and judged, before anything is said of it
            else:
                return  # others are busy with it; its turn comes again
        except Refused as refused:
            self._leave(subject, refused)
            return
        self._written[subject] = _version(found), known
        # A definition of somebody else may have no room for all of it: once is enough, then.
        status = wanted(known)
        if status == known.get("status"):
            self._cut.pop(subject, None)
        else:
            self._cut[subject] = status

    def _leave(self, subject: str, refused: Refused) -> None:
        """Leave the object, or all of its kind, alone for a while. What is gone needs no status."""
        if refused.status not in _LEFT_ALONE:
            raise refused
        kind = subject.partition(" ")[0]
        self._left_alone[kind if refused.status == 403 else subject] = _clock() + _LEAVES_ALONE_FOR
        about = kind if refused.status == 403 else subject
        if refused.status != 404 and about not in self._told:
            self._told.add(about)
            _log.warning("status not written", extra={"object": subject, "why": str(refused)})

    async def _resource(self, found: Object) -> Resource:
        api_version, kind = str(found["apiVersion"]), str(found["kind"])
        if kind not in self._plurals.get(api_version, {}):
            self._plurals[api_version] = await api.kinds_of(self._access, api_version)
        named = self._plurals[api_version].get(kind)
        if named is None:
            raise Refused(api.no_kind(api_version, kind), 404)
        return Resource(api_version=api_version, plural=named[0], part="status")


def _patch(known: Object, status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what makes the object's status that one, unless it is."""
    former = known.get("status")
    patch = difference(former if isinstance(former, dict) else {}, status)
    if not patch:
        return None
    return {"metadata": {"resourceVersion": _version(known)}, "status": patch}


def _is_another(one: Object, other: Object) -> bool:
    """Return whether they say something else, or are not the same object at all."""
    return any(one["metadata"].get(each) != other["metadata"].get(each) for each in _SAME)


_SAME: Final = ("uid", "generation", "annotations", "deletionTimestamp")
"""What tells whether an object is as it was; annotations change without a new generation."""


def _version(found: Object) -> str:
    return str(found["metadata"].get("resourceVersion"))


def _clock() -> float:
    return asyncio.get_running_loop().time()
