"""All processes of a mesh as one: what its operator sees and does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Final, Protocol

from broker.errors import ChannelUnavailable, Problem
from broker.event import Event
from broker.mesh.parked import meant
from broker.ports import Archive, Books, Pause
from broker.status import (
    BrokerStatus,
    Manifests,
    MeshStatus,
    Operated,
    Order,
    Parked,
    Redriven,
    SourceStatus,
    TriggerState,
    TriggerStatus,
    WorkerStatus,
)
from broker.trigger import Desired, Trigger
from broker.workers.archive import GatheredArchive, shard_of
from broker.workers.worker import Worker


class Here(Operated, Protocol):
    """The mesh of the first process."""

    manifests: Manifests
    problems: Sequence[Problem]
    unfollowed: Callable[[], Sequence[str] | None]

    async def apply(self, desired: Desired) -> None: ...

    def is_shared(self, broker: str) -> bool: ...


_Process = Here | Worker


class Gathered:
    """An `Operated` mesh: the first process, which is ``here``, and the ``workers`` beside it."""

    def __init__(self, here: Here, workers: Sequence[Worker]) -> None:
        self._here = here
        self._workers = workers

    # --- changing --------------------------------------------------------------------------

    @property
    def manifests(self) -> Manifests:
        """See `broker.mesh.Mesh`."""
        return self._here.manifests

    @manifests.setter
    def manifests(self, manifests: Manifests) -> None:
        self._here.manifests = manifests

    @property
    def problems(self) -> Sequence[Problem]:
        """See `broker.mesh.Mesh`."""
        return self._here.problems

    @problems.setter
    def problems(self, problems: Sequence[Problem]) -> None:
        self._here.problems = problems

    @property
    def unfollowed(self) -> Callable[[], Sequence[str] | None]:
        """See `broker.mesh.Mesh`."""
        return self._here.unfollowed

    @unfollowed.setter
    def unfollowed(self, unfollowed: Callable[[], Sequence[str] | None]) -> None:
        self._here.unfollowed = unfollowed

    async def apply(self, desired: Desired) -> None:
        """Make all processes run what is desired; see `broker.mesh.Mesh.apply`.

        First this one, in which events with a key gather as soon as a trigger wants them in order.
        """
        await self._here.apply(desired)
        await asyncio.gather(*(each.apply(desired) for each in self._workers))

    # --- looking on ------------------------------------------------------------------------

    async def not_ready(self) -> Sequence[str]:
        found = await asyncio.gather(
            self._here.not_ready(), *(each.not_ready() for each in self._workers)
        )
        return list(dict.fromkeys(reason for reasons in found for reason in reasons))

    async def status(self) -> MeshStatus:
        here, *others = await asyncio.gather(
            self._here.status(), *(each.status() for each in self._workers)
        )
        brokers = {each.key: [each] for each in here.brokers}
        for other in others:
            for each in other.brokers:
                if each.key in brokers:
                    brokers[each.key].append(each)
        called = [each for other in others for each in other.sources]
        return replace(
            here,
            brokers=[
                _sum_of_brokers(each, is_shared=self._here.is_shared(key))
                for key, each in brokers.items()
            ],
            sources=[_sum_of_sources([each, *_same(each, called)]) for each in here.sources],
            workers=[_FIRST, *(each.seen for each in self._workers)],
            elsewhere=reduce(add, (each.elsewhere for each in others), here.elsewhere),
            is_whole=all(each.is_whole for each in others),
        )

    def channel(self, broker: str) -> Archive:
        here = self._here.channel(broker)
        if self._here.is_shared(broker):
            return here
        return GatheredArchive(here, [each.archive(broker) for each in self._workers])

    def triggers(self, broker: str) -> Sequence[Trigger]:
        return self._here.triggers(broker)

    def trigger(self, trigger: str) -> Trigger:
        return self._here.trigger(trigger)

    # --- operating -------------------------------------------------------------------------

    async def pause(self, trigger: str, why: str) -> Pause:
        pause = await self._here.pause(trigger, why)
        await self._tell_running("heed")
        return pause

    async def resume(self, trigger: str) -> None:
        await self._here.resume(trigger)
        await self._tell_running("resume", trigger)

    async def _tell_running(self, name: str, *args: object) -> None:
        """Tell the workers; one that does not run now asks when it starts."""
        for each in self._workers:
            with suppress(ChannelUnavailable):
                await each.call(name, *args)

    async def parked(self, trigger: str) -> Sequence[Parked]:
        found = [each for _, parked in await self._all_parked(trigger) for each in parked]
        return sorted(found, key=lambda each: each.since)

    async def order(
        self, trigger: str, order: Order, *, id: str | None, source: str | None
    ) -> Sequence[Parked]:
        found = await self._all_parked(trigger)
        events = meant([each for _, parked in found for each in parked], id=id, source=source)
        for process, parked in found:
            for each in parked:
                if each in events:
                    await process.order(trigger, order, id=each.id, source=each.source)
        return events

    async def _all_parked(self, trigger: str) -> Sequence[tuple[_Process, Sequence[Parked]]]:
        processes: list[_Process] = [self._here, *self._workers]
        found = await asyncio.gather(*(each.parked(trigger) for each in processes))
        return list(zip(processes, found, strict=True))

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        if self._here.is_shared(broker):
            return await self._here.redrive(broker, ids)
        of_process: dict[_Process, list[str]] = {}
        for each in ids:
            of_process.setdefault(self._holder(each), []).append(each)
        results = [await process.redrive(broker, some) for process, some in of_process.items()]
        kept: dict[str, str] = {}
        for result in results:
            kept.update(result.kept)
        return Redriven(redriven=[one for each in results for one in each.redriven], kept=kept)

    async def redrive_edited(self, broker: str, id: str, edited: Event) -> Redriven:
        process = self._here if self._here.is_shared(broker) else self._holder(id)
        return await process.redrive_edited(broker, id, edited)

    def _holder(self, letter: str) -> _Process:
        """Return the process whose shard has, or would have, the dead letter of that id."""
        number = shard_of(letter)
        return next((each for each in self._workers if each.number == number), self._here)


# --- sums ----------------------------------------------------------------------------------

_FIRST: Final = WorkerStatus(number=0, pid=os.getpid(), state="running")

_WORST_FIRST: Final = ("paused", "held", "probing", "recovering", "running")


def _sum_of_brokers(of_process: Sequence[BrokerStatus], *, is_shared: bool) -> BrokerStatus:
    """Return what the processes tell of one broker, added up.

    Where they share its channel, each tells how many events that has accepted in all. The first
    one tells which triggers there are: the others may only be coming to that.
    """
    accepted = [each.accepted for each in of_process]
    triggers: dict[str, list[TriggerStatus]] = {each.key: [] for each in of_process[0].triggers}
    for broker in of_process:
        for trigger in broker.triggers:
            if trigger.key in triggers:
                triggers[trigger.key].append(trigger)
    return replace(
        of_process[0],
        accepted=max(accepted) if is_shared else sum(accepted),
        unavailable=next((each.unavailable for each in of_process if each.unavailable), None),
        triggers=[_sum_of_triggers(each) for each in triggers.values()],
    )


def _sum_of_triggers(of_process: Sequence[TriggerStatus]) -> TriggerStatus:
    return replace(
        of_process[0],
        in_flight=sum(each.in_flight for each in of_process),
        books=_sum_of_books([each.books for each in of_process]),
        state=_worst(each.state for each in of_process),
        parked=sum(each.parked for each in of_process),
    )


def _same(source: SourceStatus, among: Sequence[SourceStatus]) -> Sequence[SourceStatus]:
    return [each for each in among if (each.kind, each.key) == (source.kind, source.key)]


def _sum_of_sources(of_process: Sequence[SourceStatus]) -> SourceStatus:
    """Return what the processes tell of a source, which is called in all or runs in the first."""
    worst = next((each for each in of_process if each.state != "running"), of_process[0])
    return replace(
        worst,
        emitted=sum(each.emitted for each in of_process),
        rejected=sum(each.rejected for each in of_process),
    )


def _sum_of_books(books: Sequence[Books]) -> Books:
    return Books(
        matched=sum(each.matched for each in books),
        delivered=sum(each.delivered for each in books),
        dead_lettered=sum(each.dead_lettered for each in books),
        waiting=sum(each.waiting for each in books),
        oldest_waiting=min(
            (each.oldest_waiting for each in books if each.oldest_waiting is not None),
            default=None,
        ),
    )


def _worst(states: Iterable[TriggerState]) -> TriggerState:
    return min(states, key=lambda each: _WORST_FIRST.index(each.phase))
