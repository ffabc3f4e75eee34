"""Sees to it that of several processes one alone does a work: who holds a Lease of the cluster."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from broker.connections.kubernetes.access import Access
from broker.connections.kubernetes.changing import CONFLICT, Changer, Resource
from broker.connections.kubernetes.collections import Object
from broker.connections.kubernetes.refusals import Refused
from broker.errors import UpstreamUnavailable

_log: Final = logging.getLogger("cemesh.kubernetes")

LEASES: Final = Resource(api_version="coordination.k8s.io/v1", plural="leases")

_RELEASED_WITHIN: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a Lease ``lasts`` that nobody renews, and how often its holder ``renews`` it.

    The holder gives up when it could not for so long: long before another one may begin.
    """

    lasts: timedelta = timedelta(seconds=15)
    renews: timedelta = timedelta(seconds=5)
    gives_up: timedelta = timedelta(seconds=10)
    tries: timedelta = timedelta(seconds=2)


class Lease:
    """The Lease of that name, and this process as one of those who want it."""

    def __init__(self, access: Access, *, namespace: str, name: str, pace: Pace = Pace()) -> None:
        self.identity: Final = f"{socket.gethostname()}_{uuid4()}"
        self._changer = Changer(access)
        self._namespace = namespace
        self._name = name
        self._pace = pace
        self._held: Object | None = None
        self._until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._trouble: str | None = None

    async def while_held(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work whenever the Lease is ours; it is cancelled, and awaited, when it is not.

        Ends when the work does, or fails as it does.
        """
        while True:
            await self._acquire()
            _log.info("lease acquired", extra={"lease": self._full_name})
            try:
                if await self._work(work):
                    return
            finally:
                await self._release()

    @property
    def _full_name(self) -> str:
        return f"{self._namespace}/{self._name}"

    async def _work(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Return whether the work has ended by itself."""
        working = asyncio.ensure_future(work())
        keeping = asyncio.create_task(self._keep())
        both = [working, keeping]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.wait(both)
        if not working.cancelled():
            working.result()
            return True
        _log.warning("lease lost", extra={"lease": self._full_name, "why": keeping.result()})
        return False

    # --- having it -------------------------------------------------------------------------

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._try():
                    break
                self._trouble = None
            except UpstreamUnavailable as error:
                self._tell(str(error))
            await asyncio.sleep(self._pace.tries.total_seconds())
        self._trouble = None

    def _tell(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            _log.warning("lease not had", extra={"lease": self._full_name, "why": why})

    async def _try(self) -> bool:
        """Return whether the Lease is ours now."""
        asked = _clock()
        try:
            found = await self._changer.read(LEASES, self._namespace, self._name)
        except Refused as refused:
            if refused.status != 404:
                raise
            return await self._create(asked)
        spec = found.get("spec") or {}
        if spec.get("holderIdentity") not in ("", None, self.identity) and self._lasts(found):
            return False
        taken = self._spec() | {
            "acquireTime": _time(),
            "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1,
        }
        return await self._write(found, taken, asked)

    async def _create(self, asked: float) -> bool:
        meta = {"name": self._name, "namespace": self._namespace}
        spec = {**self._spec(), "acquireTime": _time(), "leaseTransitions": 0}
        made = {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": meta,
            "spec": spec,
        }
        try:
            self._held = await self._changer.create(LEASES, made)
        except Refused as refused:
            if refused.status == CONFLICT:
                return False
            raise
        self._until = asked + self._pace.gives_up.total_seconds()
        return True

    def _lasts(self, found: Object) -> bool:
        """Return whether its holder may be alive: by our clock, as others may have another time."""
        version, since = str(found["metadata"]["resourceVersion"]), _clock()
        if self._seen[0] != version:
            self._seen = version, since
        lasts = found["spec"].get("leaseDurationSeconds") or 0
        return since - self._seen[1] < lasts

    async def _keep(self) -> str:
        """Renew the Lease until it is lost, and return why it is."""
        while True:
            await asyncio.sleep(self._pace.renews.total_seconds())
            why = "it was not renewed in time"
            try:
                async with asyncio.timeout_at(self._until):
                    while True:
                        try:
                            if not await self._renew():
                                return "another process has taken it"
                            break
                        except UpstreamUnavailable as error:
                            why = str(error)
                        await asyncio.sleep(self._pace.tries.total_seconds())
            except TimeoutError:
                return why

    async def _renew(self) -> bool:
        asked = _clock()
        if self._held is not None and await self._write(self._held, self._spec(), asked):
            return True
        # Somebody has changed it; maybe we have, and never heard that we did.
        found = await self._changer.read(LEASES, self._namespace, self._name)
        if (found.get("spec") or {}).get("holderIdentity") != self.identity:
            return False
        return await self._write(found, self._spec(), asked)

    async def _write(self, found: Object, spec: dict[str, Any], asked: float) -> bool:
        """Return whether the Lease is ours by this, as it was when it was ``asked`` for."""
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            self._held = await self._changer.patch(
                LEASES, self._namespace, self._name, {"metadata": version, "spec": spec}
            )
        except Refused as refused:
            if refused.status == CONFLICT:
                return False
            raise
        self._until = asked + self._pace.gives_up.total_seconds()
        return True

    async def _release(self) -> None:
        """Let others have it at once, if it is ours still and that can be said now."""
        held, self._held = self._held, None
        if held is None or _clock() > self._until:
            return
        given_up = {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": _time()}
        with suppress(TimeoutError, UpstreamUnavailable):
            async with asyncio.timeout(_RELEASED_WITHIN):
                await self._write(held, given_up, _clock())

    def _spec(self) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._pace.lasts.total_seconds())),
            "renewTime": _time(),
        }


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _time() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
