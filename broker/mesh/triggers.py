"""One trigger, running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from broker.dispatcher import Delivering, Dispatcher
from broker.errors import CemeshError
from broker.ports import (
    UNWATCHED,
    Buried,
    Channel,
    Claim,
    Pause,
    Refusal,
    Settled,
    Step,
    Watcher,
)
from broker.status import Parked
from broker.trigger import Trigger
from delivery.gate import Gate
from delivery.parking import Parking

_log: Final = logging.getLogger("cemesh.mesh")

_SUBSCRIBE: Final = 5.0
"""Seconds that a change of the mesh waits for a subscription before it goes on without."""

_RESTART: Final = 1.0
"""Seconds before a subscription that failed is tried again."""

_TELL: Final = 10.0
"""Seconds between two warnings of dead letters of one trigger: a dead subscriber makes many."""


class TriggerRun:
    """Subscribes a trigger and dispatches its events until it is stopped or replaced.

    A subscription that fails is begun again: an event is only ever held up by that.
    """

    def __init__(
        self,
        trigger: Trigger,
        channel: Channel,
        delivery: Delivering,
        gate: Gate,
        parking: Parking,
        *,
        watch: Watcher = UNWATCHED,
    ) -> None:
        self.trigger = trigger
        self.channel = channel
        self.gate = gate
        self.parking = parking
        self.pause: Pause | None = None
        self.heeded = 0  # how often that has changed
        self._delivery = delivery
        self._watch = watch
        self._dispatcher = self._new_dispatcher()
        self._subscribed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._dead_untold = 0
        self._tell_again = 0.0

    @property
    def in_flight(self) -> int:
        return self._dispatcher.in_flight

    @property
    def parked(self) -> Sequence[Parked]:
        return self.parking.list(is_running=self.gate.state.phase == "running")

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start in ``tasks``, and return once subscribed: it gets what is appended from now on.

        Returns also after a while, where the channel is out; nothing can be appended then.
        """
        self._task = tasks.create_task(self._run())
        await _until(self._subscribed, _SUBSCRIBE)

    def heed(self, pause: Pause | None) -> None:
        """Be paused, or go on, as the channel says now. ``pause`` is why it is paused."""
        if pause is not None and pause.destination not in (None, self.trigger.subscriber.url):
            pause = None
        if pause != self.pause:
            self.pause = pause
            self.heeded += 1
            if pause is None:
                self.gate.resume()
            else:
                self.gate.pause(pause.why)

    def resume(self) -> None:
        """Go on, whatever kept it from it but limits."""
        self.pause = None
        self.heeded += 1
        self.gate.resume()

    def make_way(self) -> None:
        """Go on until another run of the trigger subscribes, and then not take its place again."""
        self._stopped.set()

    def stop(self) -> None:
        """Claim no more. What is under way goes on."""
        self._stopped.set()
        self._subscribed.set()
        self._dispatcher.stop()

    def break_off(self) -> None:
        """Break off what is under way; it is found again at the next start."""
        if self._task is not None:
            self._task.cancel()

    async def leave(self, within: timedelta) -> None:
        """Stop, let attempts under way finish within that time, and break off the rest.

        What is broken off is found again at the next start.
        """
        self.stop()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=within.total_seconds())
        if late:
            count = self.in_flight
            _log.warning("attempts broken off", extra={"trigger": self.trigger.key, "count": count})
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._keep_running()
        finally:
            self.gate.close()

    async def _keep_running(self) -> None:
        while not self._stopped.is_set():
            try:
                async with self.channel.subscribe(
                    self.trigger.key,
                    filter=self.trigger.filter,
                    window=self.trigger.window,
                    ordered=self.trigger.ordered,
                ) as cursor:
                    self._subscribed.set()
                    await self._dispatcher.run(cursor)
                    return
            except CemeshError as error:
                _log.warning(
                    "trigger interrupted", extra={"trigger": self.trigger.key, "why": str(error)}
                )
            except Exception:  # noqa: BLE001 - a fault must neither end the trigger nor hide
                _log.exception("trigger failed", extra={"trigger": self.trigger.key})
            await _until(self._stopped, _RESTART)
            self._dispatcher = self._new_dispatcher()

    def _new_dispatcher(self) -> Dispatcher:
        delivery = self._delivery
        return Dispatcher(delivery.step, self.gate, begin=delivery.begin, told=self._told)

    def _told(self, claim: Claim, step: Step) -> None:
        self._watch.decided(self.trigger.key, claim, step)
        match step:
            case Buried(why=why):
                self._tell_dead_letter(claim, why, "the broker's store")
            case Settled(why=Refusal() as why):
                self._tell_dead_letter(claim, why, "the dead-letter sink")

    def _tell_dead_letter(self, claim: Claim, why: Refusal, to: str) -> None:
        """Log the dead letter: the first as a warning, and then one for all within a while."""
        time = asyncio.get_running_loop().time()
        self._dead_untold += 1
        told = time >= self._tell_again
        _log.log(
            logging.WARNING if told else logging.DEBUG,
            "dead-lettered",
            extra={
                "trigger": self.trigger.key,
                "event_id": claim.event.id,
                "source": claim.event.source,
                "attempts": why.attempts,
                "why": why.reason,
                "to": to,
                "count": self._dead_untold,
            },
        )
        if told:
            self._dead_untold = 0
            self._tell_again = time + _TELL


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
