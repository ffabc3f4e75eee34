"""Asks sinks, which are plug-ins."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from broker.event import Event
from broker.ports import Answer, Refused

_log: Final = logging.getLogger("cemesh.delivery")


async def answer_to(trigger: str, event: Event, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return what the sink answers; what it raises costs an attempt, and no event."""
    try:
        return await attempt()
    except Exception as error:  # noqa: BLE001 - see above
        extra = {"trigger": trigger, "event_id": event.id, "source": event.source}
        _log.exception("sink raised", extra=extra)
        return Refused(reason=f"the sink raised {type(error).__name__}: {error}")
