"""What runs in this process, to be looked up, looked at and operated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.errors import (
    ChannelUnavailable,
    NotParked,
    Problem,
    UnknownBroker,
    UnknownTrigger,
    did_you_mean,
)
from broker.event import Event
from broker.ingress import Entrance
from broker.mesh.parked import meant
from broker.mesh.receivers import ReceiverRun
from broker.mesh.resources import Resources
from broker.mesh.sources import SourceRun
from broker.mesh.triggers import TriggerRun
from broker.ports import Channel, Emit, Origin, Pause, Tracer, Watcher
from broker.settings import Part
from broker.status import (
    BrokerStatus,
    Manifests,
    MeshStatus,
    Order,
    Parked,
    Redriven,
    TriggerStatus,
)
from broker.trigger import Access, Broker, Desired, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBroker:
    """A broker that takes events."""

    broker: Broker
    channel: Channel
    entrance: Entrance


class Running:
    """The parts of the mesh that run here: see `broker.mesh.mesh.Mesh`, which changes them.

    ``manifests`` are the files that it runs, ``problems`` those of the last change that was
    refused; whoever reads the files sets both. ``unfollowed`` tells why what a cluster says cannot
    be followed now.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        parts: frozenset[Part],
        watch: Watcher,
        tracer: Tracer | None,
    ) -> None:
        self.manifests = Manifests()
        self.problems: Sequence[Problem] = ()
        self.unfollowed: Callable[[], Sequence[str] | None] = lambda: None
        self._resources = resources
        self._parts = parts
        self._watch = watch
        self._tracer = tracer
        self._desired = Desired()
        self._brokers: dict[str, OpenBroker] = {}
        self._triggers: dict[str, TriggerRun] = {}
        self._sources: dict[str, SourceRun] = {}
        self._receivers: dict[str, ReceiverRun] = {}
        self._phase: str | None = "the mesh is starting"

    # --- the ways in -----------------------------------------------------------------------

    def find(self, broker: str) -> Entrance | None:
        """Return the way into ``namespace/name``, or None where no broker of that name runs."""
        running = self._brokers.get(broker)
        return None if running is None else running.entrance

    def clients(self) -> Iterable[Access]:
        """Return who may send to any broker at all."""
        return [each.broker.access for each in self._brokers.values() if each.broker.access]

    def receiver(self, path: str) -> ReceiverRun | None:
        """Return the source that is called by this path, or None where none is."""
        return self._receivers.get(path)

    def _emit_to(self, broker: str) -> Emit:
        return self.channel(broker).append

    def _emit_into(self, broker: str) -> Emit:
        """Return the way into a broker that is looked up each time, as its channel may change."""

        async def emit(events: Sequence[Event]) -> None:
            await self._emit_to(broker)(events)

        return emit

    # --- looking on ------------------------------------------------------------------------

    async def not_ready(self) -> Sequence[str]:
        if self._phase is not None:
            return [self._phase]
        why = {key: await _unavailable(each.channel) for key, each in self._brokers.items()}
        return [f"broker {key}: {reason}" for key, reason in why.items() if reason is not None]

    async def status(self) -> MeshStatus:
        brokers = [await self._broker_status(each) for each in self._brokers.values()]
        sources = [run.status for run in self._sources.values()]
        sources += [run.status for run in self._receivers.values()]
        return MeshStatus(
            brokers=brokers,
            sources=sources,
            problems=self.problems,
            manifests=self.manifests,
            parts=self._parts,
            unfollowed=self.unfollowed(),
        )

    async def _broker_status(self, running: OpenBroker) -> BrokerStatus:
        key = running.broker.key
        books = await running.channel.books()
        return BrokerStatus(
            key=key,
            channel=self._resources.channel_scheme(running.broker),
            accepted=await running.channel.accepted(),
            unavailable=await _unavailable(running.channel),
            triggers=[
                TriggerStatus(
                    key=run.trigger.key,
                    broker=key,
                    subscriber=run.trigger.subscriber.url,
                    in_flight=run.in_flight,
                    books=books[run.trigger.key],
                    state=run.gate.state,
                    parked=len(run.parked),
                )
                for run in self._triggers.values()
                if run.trigger.broker == key and run.trigger.key in books
            ],
        )

    def is_shared(self, broker: str) -> bool:
        """Return whether all processes have the same channel of that broker, or each a shard."""
        return self._resources.is_shared(self._open_broker(broker).broker)

    def channel(self, broker: str) -> Channel:
        return self._open_broker(broker).channel

    def _open_broker(self, broker: str) -> OpenBroker:
        running = self._brokers.get(broker)
        if running is None:
            raise UnknownBroker(f"the mesh has no broker {broker}")
        return running

    def triggers(self, broker: str) -> Sequence[Trigger]:
        self.channel(broker)  # which says so where there is none
        return [each for each in self._desired.triggers.values() if each.broker == broker]

    async def redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        redriven: list[str] = []
        kept: dict[str, str] = {}
        subscribed = await self.channel(broker).books()
        for each in ids:
            why = await self._redrive(broker, each, subscribed)
            if why is None:
                redriven.append(each)
            else:
                kept[each] = why
        return Redriven(redriven=redriven, kept=kept)

    async def redrive_edited(self, broker: str, id: str, edited: Event) -> Redriven:
        subscribed = await self.channel(broker).books()
        why = await self._redrive(broker, id, subscribed, edited=edited)
        if why is None:
            return Redriven(redriven=[id], kept={})
        return Redriven(redriven=[], kept={id: why})

    async def _redrive(
        self, broker: str, id: str, subscribed: Collection[str], *, edited: Event | None = None
    ) -> str | None:
        """Return why the dead letter is kept, None where it has been redriven."""
        channel = self.channel(broker)
        where = "on this broker" if Part.DISPATCHER in self._parts else "here: ask a dispatcher"
        letter = await channel.dead_letters.get(id)
        if letter is None:
            return "there is no such dead letter"
        if not letter.trigger:
            return "it is no event, but what a source was given, or what others wrote"
        if letter.trigger not in subscribed or not self._runs(letter.trigger, channel):
            return f"its trigger {letter.trigger} does not run {where}"
        # Appended before it is removed: a crash between the two repeats, and loses not.
        trace = letter.event.trace  # also of what was edited
        events: Sequence[Event] = [replace(edited or letter.event, hops=0, trace=trace)]
        origin = Origin("redrive", letter.trigger)
        if self._tracer is not None:
            events, origin = self._tracer.arrive(events, origin)
        await channel.append(events, to=letter.trigger)
        self._watch.accepted(broker, events, origin, None)
        await channel.dead_letters.remove([id])
        return None

    async def pause(self, trigger: str, why: str) -> Pause:
        channel = self._channel_of(trigger)
        pause = Pause(why=why, since=datetime.now(UTC))
        await channel.pauses.put(trigger, pause)
        if trigger in self._triggers:
            self._triggers[trigger].heed(pause)
        return pause

    async def resume(self, trigger: str) -> None:
        await self._channel_of(trigger).pauses.remove(trigger)
        if trigger in self._triggers:
            self._triggers[trigger].resume()

    def trigger(self, trigger: str) -> Trigger:
        found = self._desired.triggers.get(trigger)
        if found is None:
            hint = did_you_mean(trigger, self._desired.triggers)
            raise UnknownTrigger(f"the mesh has no trigger {trigger}{hint}")
        return found

    async def parked(self, trigger: str) -> Sequence[Parked]:
        return self._run_of(trigger).parked

    async def order(
        self, trigger: str, order: Order, *, id: str | None, source: str | None
    ) -> Sequence[Parked]:
        run = self._run_of(trigger)
        events = meant(run.parked, id=id, source=source)
        run.parking.order(events, order)
        return events

    def _run_of(self, trigger: str) -> TriggerRun:
        self._channel_of(trigger)  # which says so where there is none
        run = self._triggers.get(trigger)
        if run is None:
            raise NotParked(f"{trigger} does not run here: ask a dispatcher")
        return run

    def _channel_of(self, trigger: str) -> Channel:
        return self.channel(self.trigger(trigger).broker)

    def _runs(self, trigger: str, channel: Channel) -> bool:
        run = self._triggers.get(trigger)
        return run is not None and run.channel is channel


async def _unavailable(channel: Channel) -> str | None:
    try:
        await channel.check()
    except ChannelUnavailable as error:
        return str(error)
    return None
