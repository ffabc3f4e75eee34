"""Desired against running: starts, replaces and stops what differs, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final, Self

from broker.callbacks import Callbacks
from broker.channels.shard import ShardChannel, Upstream
from broker.errors import CemeshError
from broker.ingress import Entrance
from broker.mesh.announcing import Announcing
from broker.mesh.departed import Departed, take_off
from broker.mesh.making import Maker
from broker.mesh.parts import of_parts, refuse_unshared, share_of
from broker.mesh.pausing import Pausing
from broker.mesh.receivers import ReceiverRun
from broker.mesh.resources import Resources
from broker.mesh.running import OpenBroker, Running
from broker.mesh.sources import SourceRun
from broker.mesh.triggers import TriggerRun
from broker.policy import Network
from broker.ports import UNWATCHED, BackendOptions, Channel, Tracer, Watcher
from broker.settings import WHOLE, Part
from broker.status import TriggerState
from broker.trigger import Broker, Desired, SinkObject

_log: Final = logging.getLogger("cemesh.mesh")


class Mesh(Running):
    """Everything that runs in this process. `apply` makes it what the manifests ask for.

    Of that, ``parts`` run here, the others in processes of their own; ``callbacks`` are those that
    the ingress of this process takes, where there is one. ``watch`` is told of events, to which
    ``tracer`` gives spans, if there is one. It is that
    ``number``, from 0, of so many ``processes``, of which the others reach the first by their
    ``upstream``. To be entered, changed and left by one and the same task.
    """

    def __init__(
        self,
        *,
        channel: str | None,
        options: BackendOptions,
        drain_timeout: timedelta,
        watch: Watcher = UNWATCHED,
        tracer: Tracer | None = None,
        parts: frozenset[Part] = WHOLE,
        network: Network = Network(loopback=True),
        callbacks: Callbacks | None = None,
        number: int = 0,
        processes: int = 1,
        upstream: Upstream | None = None,
    ) -> None:
        super().__init__(
            Resources(channel=channel, options=options, emit_to=self._emit_to, upstream=upstream),
            parts=parts,
            watch=watch,
            tracer=tracer,
        )
        self._number = number
        self._processes = processes
        self._is_worker = upstream is not None
        self._drain_timeout = drain_timeout
        self._tasks = asyncio.TaskGroup()
        self._leaving: dict[asyncio.Task[None], TriggerRun] = {}
        self._departed = Departed(self._is_here)
        self._pausing = Pausing(self._triggers.values)
        self._announcing = Announcing(
            self._told_of_triggers, self._emit_to, watch=watch, tracer=tracer
        )
        self._maker = Maker(
            self._resources,
            network,
            watch,
            callbacks,
            tracer=tracer,
            emit_into=self._emit_into,
            changed=self._changed,
            on_parking=self._announcing.parking,
        )

    async def __aenter__(self) -> Self:
        await self._resources.__aenter__()
        await self._tasks.__aenter__()
        keeping = (self._pausing.keep(), self._announcing.keep())
        self._keeping = [self._tasks.create_task(each) for each in keeping]
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.drain()
            self._departed.stop()
            for task in self._keeping:
                task.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._resources.__aexit__(None, None, None)

    # --- changing --------------------------------------------------------------------------

    async def apply(self, desired: Desired) -> None:
        """Make the mesh run what is desired, and return once it does.

        Deliveries under way are finished by what they were begun with. Raises a `CemeshError`,
        with the broker or trigger as its subject, and has changed nothing, if a channel cannot be
        opened or a sink not be made;
        `InvalidManifest` if a part of the mesh would run apart on a channel of one process.
        """
        if not self._is_worker:
            refuse_unshared(desired, self._parts, self._resources)
        here = share_of(of_parts(desired, self._parts), self._number, self._processes)
        in_order = {trigger.broker for trigger in here.triggers.values() if trigger.ordered}
        brokers = {}
        for key, broker in desired.brokers.items():
            with _about(f"Broker {key}"):
                brokers[key] = await self._open(broker, keeps_order=key in in_order)
        runs = await self._new_runs(here, brokers)
        receivers = self._new_receivers(here)

        for key, source in list(self._sources.items()):
            if here.sources.get(key) != source.source:
                await self._sources.pop(key).stop()
        # Nothing is taken for a broker that goes; one that comes, or changes its channel, takes
        # events there once its triggers have subscribed.
        self._brokers = {
            key: brokers[key] if brokers[key].channel is running.channel else running
            for key, running in self._brokers.items()
            if key in brokers
        }
        await self._change_triggers(here, runs)
        self._brokers, self._desired, self._receivers = brokers, desired, receivers
        if Part.DISPATCHER in self._parts:
            self._departed.know(desired)
            brokers_here = list(self._brokers.values())
            await self._departed.take_off(brokers_here, self._tasks, shared=self.is_shared)
        for key, wanted in here.sources.items():
            if key not in self._sources and not wanted.receives:
                run = self._sources[key] = SourceRun(
                    wanted,
                    partial(self.channel, wanted.broker),
                    watch=self._watch,
                    tracer=self._tracer,
                )
                run.start(self._tasks)
        await self._resources.leave_sinks_but(self._sinks_in_use())
        self._phase = None

    def _sinks_in_use(self) -> Collection[SinkObject]:
        runs = [*self._triggers.values(), *self._leaving.values()]
        targets = [target for run in runs for target in run.trigger.targets]
        return [target.sink for target in targets if target.sink is not None]

    async def _open(self, broker: Broker, *, keeps_order: bool) -> OpenBroker:
        channel = await self._resources.channel(broker)
        if isinstance(channel, ShardChannel):
            channel.keeps_order = keeps_order
        # That of a `FutureChannel` needs no task for each request.
        entrance = Entrance(broker=broker, emit=getattr(channel, "submit", channel.append))
        return OpenBroker(broker=broker, channel=channel, entrance=entrance)

    async def _new_runs(
        self, desired: Desired, brokers: dict[str, OpenBroker]
    ) -> Sequence[TriggerRun]:
        """Make a run for each trigger that does not yet run as it is desired."""
        runs = []
        for key, trigger in desired.triggers.items():
            channel = brokers[trigger.broker].channel
            now = self._triggers.get(key)
            if now is None or now.trigger != trigger or now.channel is not channel:
                with _about(f"Trigger {key}"):
                    runs.append(await self._maker.make(trigger, channel))
        await self._pausing.heed(runs)
        return runs

    def _new_receivers(self, desired: Desired) -> dict[str, ReceiverRun]:
        """Return what is to be called by which path: what runs already as desired, and new ones."""
        receivers = {}
        for wanted in desired.sources.values():
            if wanted.receives:
                now = self._receivers.get(wanted.path)
                if now is None or now.source != wanted:
                    now = ReceiverRun(
                        wanted,
                        partial(self.channel, wanted.broker),
                        watch=self._watch,
                        tracer=self._tracer,
                    )
                receivers[wanted.path] = now
        return receivers

    async def heed(self) -> None:
        """Let all triggers pause, or go on, as their channels say now."""
        await self._pausing.heed(list(self._triggers.values()))

    def _changed(self, run: TriggerRun, state: TriggerState) -> None:
        self._pausing.changed(run, state)
        if self._triggers.get(run.trigger.key) is run:  # and not one that is only being made
            self._announcing.changed(run, state)

    def _told_of_triggers(self) -> Collection[str]:
        """Return the brokers that take announcements."""
        return [key for key, each in self._brokers.items() if each.broker.takes_announcements]

    async def _change_triggers(self, desired: Desired, runs: Sequence[TriggerRun]) -> None:
        """Start these, in place of those that run under their names; stop what is not desired."""
        names = {run.trigger.key for run in runs}
        replaced = [run for key, run in self._triggers.items() if key in names]
        removed = [run for key, run in self._triggers.items() if key not in desired.triggers]
        for run in replaced:
            run.make_way()
        for run in removed:
            run.stop()
            del self._triggers[run.trigger.key]
            self._announcing.ends(run.trigger.key)
        for run in runs:
            self._triggers[run.trigger.key] = run
            self._announcing.begins(run)
        await asyncio.gather(*(run.start(self._tasks) for run in runs))
        for run in (*replaced, *removed):
            task = self._tasks.create_task(self._let_go(run))
            self._leaving[task] = run
            task.add_done_callback(self._leaving.pop)

    async def _let_go(self, run: TriggerRun) -> None:
        """End a run that was replaced or removed, once what it has under way is done."""
        await run.leave(self._drain_timeout)
        key = run.trigger.key
        if key not in self._desired.held and not self._runs(key, run.channel):
            await take_off(key, run.channel)

    def _is_here(self, trigger: str, channel: Channel) -> bool:
        """Return whether the trigger runs here, is about to end, or is held."""
        leaving = ((run.trigger.key, run.channel) for run in self._leaving.values())
        return (
            self._runs(trigger, channel)
            or (trigger, channel) in leaving
            or trigger in self._desired.held
        )

    async def drain(self) -> None:
        """Stop the sources, finish what is under way within the deadline, and stop.

        What does not finish is found again at the next start, as is what still comes in.
        """
        self._phase = "the mesh is stopping"
        for source in self._sources.values():
            await source.stop()
        self._sources.clear()
        runs = [run.leave(self._drain_timeout) for run in self._triggers.values()]
        await asyncio.gather(*runs, *self._leaving)
        self._triggers.clear()

    def hurry(self) -> None:
        """Break off whatever is still under way, and give nothing time to finish any more."""
        self._drain_timeout = timedelta(0)
        for run in [*self._triggers.values(), *self._leaving.values()]:
            run.break_off()


@contextmanager
def _about(subject: str) -> Iterator[None]:
    """Note in a `CemeshError` from within which object it is about."""
    try:
        yield
    except CemeshError as error:
        error.subject = subject
        raise
