"""Puts deliveries off: into queues from which the server gives them back in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from broker.channels.clock import now
from broker.channels.rabbitmq.delivery import Delivery, PutOff
from broker.channels.rabbitmq.publishing import Outgoing, Publishing
from broker.channels.rabbitmq.stamps import Stamps, time_of
from broker.channels.rabbitmq.topology import WAIT, Topology, unusable
from broker.channels.rabbitmq.waits import bucket, step
from broker.codecs.amqp import encode
from broker.codecs.notes import Notes


class Waiting:
    """The delay queues of one broker. Each is made when the first delivery is put into it."""

    def __init__(self, topology: Topology, publishing: Publishing, stamps: Stamps) -> None:
        self._topology = topology
        self._publishing = publishing
        self._stamps = stamps
        self._steps: set[int] = set()
        self._declaring = asyncio.Lock()

    async def put_off(self, trigger: str, delivery: Delivery, fate: PutOff) -> int:
        """Return, once it is durable, up to when it is in no queue of the trigger's.

        In microseconds since 1970. What is due within a quarter of a second goes back into the
        trigger's queue at once, and whoever takes it in hand waits. Raises what
        `Publishing.publish` raises.
        """
        notes = Notes(
            to=trigger,
            attempts=fate.attempts,
            condemned=fate.condemned,
            due=time_of(fate.due),
        )
        began = now()
        taken = step(fate.due - began)
        headers: Mapping[str, str] = {}
        if taken is not None:
            await self._declare(taken)
            headers = {WAIT: str(taken)}
        unroutable = await self._publishing.publish(
            [
                Outgoing(
                    message=encode(delivery.event, notes),
                    stamp=self._stamps.following(delivery.stamp, delivery.at),
                    exchange=self._topology.wait if taken is not None else "",
                    routing_key=delivery.queue,
                    headers=headers,
                )
            ]
        )
        if unroutable:
            self._steps.clear()
            what = f"the queue '{delivery.queue}'" if taken is None else "a delay queue"
            raise unusable(self._topology.link, what)
        return began if taken is None else bucket(now() + taken * 1_000)

    async def _declare(self, milliseconds: int) -> None:
        async with self._declaring:
            if milliseconds not in self._steps:
                await self._topology.declare_step(milliseconds)
                self._steps.add(milliseconds)
