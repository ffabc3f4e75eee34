"""Events that were sent over the admin port."""

from __future__ import annotations

from collections.abc import Sequence

from broker.admin.models.base import Document
from broker.admin.models.stories import EventName


class SentDocument(Document, frozen=True, kw_only=True):
    """What the broker has stored of a request: one event, or those of a batch."""

    broker: str
    events: Sequence[EventName]
