"""What the mesh does for a source that runs: see `broker.ports.SourceContext`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from broker.errors import ChannelFull, ChannelUnavailable, InvalidEvent
from broker.event import Event
from broker.mesh.health import Health
from broker.ports import (
    UNWATCHED,
    Channel,
    Emitted,
    Emitter,
    Json,
    Origin,
    Refusal,
    SdkEvent,
    Tracer,
    Watcher,
)
from broker.trigger import Source

T = TypeVar("T")

REJECTED: Final = "dev.cemesh.source.rejected"
"""The type of the stand-in for what a source was given that is no event."""

_MAX_PLACE: Final = 64 << 10
_MAX_ID: Final = 1024
_BODY: Final = 1024
_LAST_PAUSE: Final = 10.0


class Context:
    """See `broker.ports.SourceContext`. ``emit`` is the way into the broker, until it is closed."""

    def __init__(
        self,
        source: Source,
        channel: Callable[[], Channel],
        health: Health,
        *,
        watch: Watcher = UNWATCHED,
        tracer: Tracer | None = None,
    ) -> None:
        self.kind = source.kind
        self.namespace, _, self.name = source.key.partition("/")
        self.uri = f"/apis/v1/namespaces/{self.namespace}/{self.kind.lower()}s/{self.name}"
        self.extensions = source.extensions
        self.emit: Emitter = _Emitter(self)
        self._source = source
        self._channel = channel
        self._health = health
        self._watch = watch
        self._tracer = tracer
        self._closed = False

    def checked(self, given: Emitted | Iterable[Emitted]) -> Sequence[Event]:
        """Return the events, all of them valid; a plug-in may have made them in any way.

        Raises `InvalidEvent`.
        """
        if not isinstance(given, Iterable):
            return [self._checked(given)]
        events = []
        for index, each in enumerate(given):
            try:
                events.append(self._checked(each))
            except InvalidEvent as error:
                raise error.at(index) from error
        return events

    def _checked(self, given: Emitted) -> Event:
        event = _event(given)
        if self._tracer is None or not isinstance(given, Event):
            return event
        return replace(event, trace=given.trace)

    def close(self) -> None:
        """Take nothing any more from a source that did not end."""
        self._closed = True

    async def load(self) -> Any:  # noqa: ANN401 - whatever JSON the source has saved
        stored = await self._patiently(lambda: self._open().checkpoints.get(self._key))
        return None if stored is None else json.loads(stored)

    async def save(self, place: Json) -> None:
        written = json.dumps(place, allow_nan=False, separators=(",", ":")).encode()
        if len(written) > _MAX_PLACE:
            raise ValueError(
                f"a place of {len(written):,} bytes is too long to be saved: {_MAX_PLACE:,} at most"
            )
        await self._patiently(lambda: self._open().checkpoints.put(self._key, written))

    async def reject(self, why: str, *, id: str, data: bytes | None = None) -> None:
        stand_in = _stand_in(id, self.uri, data)
        refusal = Refusal(
            destination=self._key, reason=why, status=None, body=(data or b"")[:_BODY], attempts=0
        )
        await self._patiently(lambda: self._open().bury(stand_in, refusal))
        self._health.rejected(stand_in.id, why)

    def healthy(self) -> None:
        self._health.upstream(None)

    def unhealthy(self, why: str) -> None:
        self._health.upstream(why)

    def lag(self, events: int | None, *, since: datetime | None = None) -> None:
        self._health.lag(events, since)

    async def append(self, events: Sequence[Event], *, parent: str | None = None) -> None:
        """Store events, as they come, with the extensions that the manifest adds.

        They follow from the span ``parent``, if that is known.
        """
        if self.extensions:
            events = [event.with_attributes(self.extensions, {}) for event in events]
        if events:
            origin = Origin("source", self._key)
            if self._tracer is not None:
                events, origin = self._tracer.arrive(events, origin, parent=parent)
            await self._open().append(events)
            self._health.emitted(len(events))
            self._watch.accepted(self._source.broker, events, origin, None)

    async def at_once(self, events: Sequence[Event], *, parent: str | None = None) -> None:
        """Do what `append` does, or raise, and let operators see why it cannot be done."""
        try:
            await self.append(events, parent=parent)
        except (ChannelUnavailable, ChannelFull) as error:
            self._health.store(str(error))
            raise
        self._health.store(None)

    async def patiently(self, events: Sequence[Event]) -> None:
        """Do what `append` does, however long it takes."""
        await self._patiently(lambda: self.append(events))

    @property
    def _key(self) -> str:
        return f"{self._source.kind} {self._source.key}"

    def _open(self) -> Channel:
        if self._closed:
            raise RuntimeError(f"{self._key} has been stopped, and can do nothing any more")
        return self._channel()

    async def _patiently(self, store: Callable[[], Awaitable[T]]) -> T:
        pause = 0.0
        while True:
            try:
                stored = await store()
            except (ChannelUnavailable, ChannelFull) as error:
                self._health.store(str(error))
                pause = min(max(2 * pause, error.retry_after.total_seconds(), 0.1), _LAST_PAUSE)
                await asyncio.sleep(pause)
            else:
                self._health.store(None)
                return stored


class _Emitter:
    """See `broker.ports.Emitter`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, events: Emitted | Iterable[Emitted]) -> None:
        await self._context.patiently(self._context.checked(events))

    async def at_once(self, events: Emitted | Iterable[Emitted]) -> None:
        await self._context.at_once(self._context.checked(events))


def _event(given: Emitted) -> Event:
    if not isinstance(given, Event):
        return _of_the_sdk(given)
    for name, value in given.attributes.items():
        if type(value) is not str:
            raise InvalidEvent(f"'{name}' is a {type(value).__name__}, not a str", attribute=name)
    if type(given.data) not in (bytes, type(None)):
        raise InvalidEvent(f"the data is a {type(given.data).__name__}, not bytes")
    return Event.checked(given.attributes, given.data, given.kinds)


def _of_the_sdk(given: SdkEvent) -> Event:
    if not hasattr(given, "get_attributes"):
        raise InvalidEvent(f"a {type(given).__name__} is no event: neither ours nor the SDK's")
    from broker.codecs.sdk import from_sdk  # the SDK takes a while to import

    return from_sdk(given)


def _stand_in(id: str, source: str, data: bytes | None) -> Event:
    """Return an event for what is none. What cannot stand in an id is escaped in it."""
    attributes = {
        "specversion": "1.0",
        "id": id[:_MAX_ID],
        "source": source,
        "type": REJECTED,
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    try:
        return Event.checked(attributes, data)
    except InvalidEvent:
        attributes["id"] = id.encode("unicode_escape").decode()[:_MAX_ID] or "none"
        return Event.checked(attributes, data)
