"""From a request to durable events, by the door: the same over the data port and the admin port."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from starlette.types import Receive, Scope

from broker.event import Event
from broker.ingress.door import Door, Entrance, sent_by
from broker.tracecontext import of_raw_headers


async def store(
    door: Door, entrance: Entrance, scope: Scope, receive: Receive, *, way: str = ""
) -> Sequence[Event]:
    """Return the events of a request, of which there may be none, once they are durable.

    ``way`` is told with who has sent them. Raises what `Door.check` and `Door.events` raise and
    what storing raises, and `ClientDisconnect`.
    """
    began, headers = monotonic(), scope["headers"]
    sender = door.check(entrance, headers)
    body = await door.intake.read(receive)
    try:
        events = door.events(headers, body)
        if events:
            origin = sent_by((scope.get("client") or ("unknown",))[0] + way, sender)
            if door.tracer is not None:
                events, origin = door.tracer.arrive(events, origin, parent=of_raw_headers(headers))
            await entrance.emit(events)
            door.accepted(entrance, events, origin, began)
        return events
    finally:
        door.intake.release(len(body))
