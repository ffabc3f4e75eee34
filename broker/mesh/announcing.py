"""Tells what triggers do as CloudEvents, which other triggers can be for."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import NAMESPACE_URL, uuid4, uuid5

from broker.errors import CemeshError, InvalidEvent
from broker.event import Event
from broker.mesh.triggers import TriggerRun
from broker.ports import UNWATCHED, Emit, Origin, Tracer, Watcher
from broker.status import Parked, TriggerState
from broker.trigger import Trigger
from broker.urls import without_credentials
from delivery.parking import Change

_log: Final = logging.getLogger("cemesh.mesh")

_AGAIN_AFTER: Final = 1.0

_MOST: Final = 1_000
"""Announcements that wait for one broker. The log has had all that they tell."""

_TYPES: Final[Mapping[str, str]] = {
    "paused": "dev.cemesh.trigger.paused",
    "recovering": "dev.cemesh.trigger.recovering",
    "running": "dev.cemesh.trigger.resumed",
}
"""The type of the event for each phase that is worth one: the others come and go with requests."""


class Announcing:
    """Emits into the brokers that ``brokers`` returns, while `keep` runs.

    What cannot be stored is tried again until it can, and holds up what is for its broker alone.
    """

    def __init__(
        self,
        brokers: Callable[[], Collection[str]],
        emit_to: Callable[[str], Emit],
        *,
        watch: Watcher = UNWATCHED,
        tracer: Tracer | None = None,
    ) -> None:
        self._brokers = brokers
        self._emit_to = emit_to
        self._watch = watch
        self._tracer = tracer
        self._told: dict[str, str] = {}
        self._waiting: dict[str, deque[Event]] = {}
        self._news = asyncio.Event()

    def changed(self, run: TriggerRun, state: TriggerState) -> None:
        """Announce what the trigger does now, if that is news."""
        key = run.trigger.key
        if state.phase not in _TYPES or self._told.get(key, "running") == state.phase:
            return
        self._told[key] = state.phase
        self._announce(announcement(run, state))

    def begins(self, run: TriggerRun) -> None:
        """Announce what the trigger does in this run, if that is other than in the one before.

        How a run begins that is the first of this process was told by the one that ran before.
        """
        state = run.gate.state
        if run.trigger.key in self._told:
            self.changed(run, state)
        elif state.phase in _TYPES:
            self._told[run.trigger.key] = state.phase

    def ends(self, trigger: str) -> None:
        """Forget a trigger that is no more."""
        self._told.pop(trigger, None)

    def parking(self, trigger: Trigger, change: Change, parked: Parked, why: str | None) -> None:
        """Announce what became of an event that is parked, and why an operator wants it."""
        data = {
            "trigger": trigger.key,
            "broker": trigger.broker,
            "subscriber": without_credentials(trigger.subscriber.url),
            "id": parked.id,
            "source": parked.source,
            "key": parked.key,
            "attempts": parked.why.attempts,
            "refused": parked.why.reason,
            "why": why,
        }
        self._announce(_event(trigger, f"dev.cemesh.event.{change}", str(uuid4()), data))

    def _announce(self, event: Event) -> None:
        for broker in self._brokers():
            waiting = self._waiting.setdefault(broker, deque())
            if len(waiting) < _MOST:
                waiting.append(event)
                self._news.set()
            else:
                _tell_lost(broker, event, f"{_MOST:,} others wait to be stored")

    async def keep(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            for broker in list(self._waiting):
                await self._tell(broker, self._waiting[broker])
            self._waiting = {broker: left for broker, left in self._waiting.items() if left}
            if self._waiting:
                self._news.set()
                await asyncio.sleep(_AGAIN_AFTER)

    async def _tell(self, broker: str, events: deque[Event]) -> None:
        """Emit these in their order, up to the first that cannot be stored now."""
        while events:
            if broker in self._brokers() and not await self._is_stored(broker, events[0]):
                return
            events.popleft()

    async def _is_stored(self, broker: str, event: Event) -> bool:
        events: Sequence[Event] = [event]
        origin = Origin("announcement", broker)
        if self._tracer is not None:
            events, origin = self._tracer.arrive(events, origin)
        try:
            await self._emit_to(broker)(events)
        except InvalidEvent as error:  # which it will be the next time, too
            _tell_lost(broker, event, str(error))
        except CemeshError as error:
            extra = {"broker": broker, "event_id": event.id, "why": str(error)}
            _log.warning("announcement not stored yet", extra=extra)
            return False
        else:
            self._watch.accepted(broker, events, origin, None)
        return True


def _tell_lost(broker: str, event: Event, why: str) -> None:
    extra = {"broker": broker, "trigger": event.attributes["subject"], "event_id": event.id}
    _log.error("announcement lost", extra={**extra, "type": event.type, "why": why})


def announcement(run: TriggerRun, state: TriggerState) -> Event:
    """Return the event that tells of the state.

    Where somebody has paused the trigger, all processes that heed it tell it under one id.
    """
    trigger = run.trigger
    stamp = uuid4()
    if run.pause is not None:
        told = f"{trigger.key} {run.pause.since.isoformat()} {run.pause.why}"
        stamp = uuid5(NAMESPACE_URL, told)
    data: dict[str, object] = {
        "trigger": trigger.key,
        "broker": trigger.broker,
        "subscriber": without_credentials(trigger.subscriber.url),
        "phase": state.phase,
        "why": state.why,
        "until": None if state.until is None else state.until.isoformat(),
    }
    return _event(trigger, _TYPES[state.phase], str(stamp), data)


def _event(trigger: Trigger, type: str, id: str, data: Mapping[str, object]) -> Event:
    namespace, _, name = trigger.broker.partition("/")
    return Event.checked(
        {
            "specversion": "1.0",
            "id": id,
            "source": f"/apis/eventing.knative.dev/v1/namespaces/{namespace}/brokers/{name}",
            "type": type,
            "subject": trigger.key,
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "cemeshtrigger": trigger.key,
        },
        json.dumps(data).encode(),
    )
