"""Where the replies of a subscriber go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from broker.errors import CemeshError, InvalidEvent
from broker.event import MAX_HOPS, Event
from broker.ports import Emit, Origin, Refused, Sink, Tracer, Watcher
from broker.trigger import Trigger
from broker.urls import without_credentials
from delivery.attempts import answer_to

_log: Final = logging.getLogger("cemesh.delivery")


class Replies:
    """Takes the replies to one trigger's events: into its broker, or to the sink of its policy.

    What that sink replies itself is ignored.
    """

    def __init__(
        self,
        trigger: Trigger,
        emit: Emit,
        sink: Sink | None,
        *,
        watch: Watcher,
        tracer: Tracer | None,
    ) -> None:
        self._trigger = trigger
        self._emit = emit
        self._sink = sink
        self._target = trigger.delivery.reply
        self._watch = watch
        self._tracer = tracer

    async def take(self, event: Event, sent: Event, reply: Event) -> Refused | None:
        """Hand the reply to this event on, one hop further; return why the delivery has failed.

        ``sent`` is the event as it was sent, with the span of the attempt, where traces are on.
        """
        if event.hops >= MAX_HOPS:
            return Refused(reason=f"hops exhausted after {MAX_HOPS} replies", permanent=True)
        further = replace(reply, hops=event.hops + 1)
        if self._sink is None or self._target is None:
            refused = await self._store(event, sent, further)
            if refused is None:
                self._tell_taken(event, reply, self._trigger.broker)
            return refused
        further = replace(further, trace=sent.trace)
        answer = await answer_to(self._trigger.key, further, partial(self._sink.attempt, further))
        where = without_credentials(self._target.url)
        if not isinstance(answer, Refused):
            self._tell_taken(event, reply, where)
            return None
        return replace(
            answer, reason=f"the reply was not taken by {where}: {answer.reason}", untried=False
        )

    async def _store(self, event: Event, sent: Event, reply: Event) -> Refused | None:
        replies: Sequence[Event] = [reply]
        origin = Origin("reply", self._trigger.key, cause=(event.source, event.id))
        if self._tracer is not None:
            replies, origin = self._tracer.arrive(
                replies, origin, parent=sent.trace, cause=event.trace
            )
        try:
            await self._emit(replies)
        except InvalidEvent as error:
            return Refused(reason=f"the reply was refused: {error}", permanent=True)
        except CemeshError as error:
            return Refused(reason=f"the reply could not be stored: {error}")
        self._watch.accepted(self._trigger.broker, replies, origin, None)
        return None

    def _tell_taken(self, event: Event, reply: Event, to: str) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            extra = {"trigger": self._trigger.key, "event_id": event.id, "source": event.source}
            replied = {"reply_id": reply.id, "reply_source": reply.source, "to": to}
            _log.debug("reply taken", extra={**extra, **replied})
