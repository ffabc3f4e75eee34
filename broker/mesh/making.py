"""Makes a run of a trigger: its sinks, its delivery and its gate, joined together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

from broker.callbacks import Callbacks
from broker.errors import CemeshError
from broker.mesh.resources import Resources
from broker.mesh.triggers import TriggerRun
from broker.policy import Network
from broker.ports import BatchSink, Channel, Emit, Sink, SinkOptions, Tracer, Watcher
from broker.status import Parked, TriggerState
from broker.trigger import Trigger
from broker.urls import without_credentials
from delivery.batching import Batching
from delivery.delivery import Delivery
from delivery.gate import Gate
from delivery.parking import Change, Parking


class Maker:
    """Makes runs. ``emit_into`` returns the way into a broker, for replies.

    ``watch`` is told of attempts, to which ``tracer`` gives spans, if there is one; ``changed`` of
    each new state of a run's gate, and ``on_parking`` of what a trigger parks, retries and skips.
    """

    def __init__(
        self,
        resources: Resources,
        network: Network,
        watch: Watcher,
        callbacks: Callbacks | None,
        *,
        tracer: Tracer | None,
        emit_into: Callable[[str], Emit],
        changed: Callable[[TriggerRun, TriggerState], None],
        on_parking: Callable[[Trigger, Change, Parked, str | None], None],
    ) -> None:
        self._resources = resources
        self._network = network
        self._watch = watch
        self._callbacks = callbacks
        self._tracer = tracer
        self._emit_into = emit_into
        self._changed = changed
        self._on_parking = on_parking

    async def make(self, trigger: Trigger, channel: Channel) -> TriggerRun:
        """Return a run that has not started. Raises a `CemeshError` if a sink cannot be made."""
        dead_letter, reply = trigger.delivery.dead_letter, trigger.delivery.reply
        options = self._options(trigger)
        gate = Gate(trigger, on_change=lambda state: self._changed(run, state))
        parking = Parking(trigger, tell=partial(self._on_parking, trigger))
        delivery = Delivery(
            trigger,
            subscriber=await self._subscriber(trigger, options),
            dead_letter=None
            if dead_letter is None
            else await self._resources.sink(dead_letter, options),
            emit=self._emit_into(trigger.broker),
            reply=None if reply is None else await self._resources.sink(reply, options),
            watch=self._watch,
            tracer=self._tracer,
            heard=gate.heard,
            parking=parking,
        )
        run = TriggerRun(trigger, channel, delivery, gate, parking, watch=self._watch)
        return run

    def _options(self, trigger: Trigger) -> SinkOptions:
        """Return what any destination may know: not what proves to the subscriber who sends."""
        policy = trigger.delivery
        return SinkOptions(
            namespace=trigger.namespace,
            timeout=policy.timeout,
            timeouts=policy.timeouts,
            content_mode=policy.content_mode,
            network=self._network,
        )

    async def _subscriber(self, trigger: Trigger, options: SinkOptions) -> Sink:
        policy = trigger.delivery
        proving = replace(
            options,
            signing=policy.signing,
            credentials=policy.credentials,
            consent=policy.consent,
            callbacks=self._callbacks,
        )
        sink = await self._resources.sink(trigger.subscriber, proving)
        if policy.batch is None:
            return sink
        if not hasattr(sink, "attempt_together"):
            told = without_credentials(trigger.subscriber.url)
            raise CemeshError(f"nothing that sends to {told} sends batches")
        send = cast("BatchSink", sink).attempt_together
        if self._tracer is not None:
            send = partial(self._tracer.send_together, trigger.key, send=send)
        return Batching(send, policy.batch, at_once=trigger.parallelism)
