"""Events in structured content mode where a message is one event and comes by no HTTP."""

from __future__ import annotations

from broker.codecs import http
from broker.codecs.json import BATCH_TYPE, EVENT_TYPE
from broker.errors import InvalidEvent, UnsupportedContent
from broker.event import Event, shown


def decode_structured(content_type: bytes, body: bytes, *, protocol: str) -> Event:
    """Return the event that the body is; raises `InvalidEvent`.

    ``content_type`` is one of CloudEvents, ``protocol`` what errors call the way it came.
    """
    essence = content_type.partition(b";")[0].rstrip().lower().decode("latin-1")
    if essence == BATCH_TYPE:
        raise InvalidEvent(f"{protocol} has no batched content mode: send one event at a time")
    if essence != EVENT_TYPE:
        raise InvalidEvent(
            f"the event format '{shown(essence)}' is not read from {protocol}, only {EVENT_TYPE} is"
        )
    try:
        # All but its content type aside, such a message is just an HTTP message.
        [event] = http.decode([(b"content-type", content_type)], body)
    except UnsupportedContent as error:
        raise InvalidEvent(str(error)) from error
    return event
