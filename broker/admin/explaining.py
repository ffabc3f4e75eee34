"""Triggers over the admin API: what they filter on, and what they make of an event."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.deadletters import broker_key
from broker.admin.models import DeliveryDocument, ExplanationDocument, TriggersDocument
from broker.admin.models.attempts import AttemptsDocument
from broker.admin.responses import document
from broker.codecs.http import Headers, decode
from broker.errors import InvalidEvent
from broker.event import Event, shown
from broker.ingress.hops import take_in
from broker.ingress.intake import Intake
from broker.observe.metrics import Metrics
from broker.ports import Archive, Stored
from broker.status import Operated

_MAX_REQUEST: Final = 16 << 20
_MAX_PENDING: Final = 4 * _MAX_REQUEST

_PAGE: Final = 1000
_MAX_SOURCES: Final = 10
"""Sources that a refusal names."""


class TriggerRoutes:
    """The routes ``triggers`` and ``explain`` under ``/api/v1/brokers/{namespace}/{name}``.

    And ``attempts`` and ``delivery`` under ``/api/v1/triggers/{namespace}/{name}``.
    """

    def __init__(self, mesh: Operated, metrics: Metrics) -> None:
        self._mesh = mesh
        self._metrics = metrics
        self._intake = Intake(max_event_bytes=_MAX_REQUEST, max_pending_bytes=_MAX_PENDING)

    async def list(self, request: Request) -> Response:
        return document(TriggersDocument.of(self._mesh.triggers(broker_key(request))))

    async def delivery(self, request: Request) -> Response:
        return document(DeliveryDocument.of(self._mesh.trigger(broker_key(request))))

    async def attempts(self, request: Request) -> Response:
        trigger = self._mesh.trigger(broker_key(request))
        counted = self._metrics.counted() + (await self._mesh.status()).elsewhere
        return document(AttemptsDocument.of(trigger.key, counted))

    async def explain(self, request: Request) -> Response:
        """Explain the event that is posted, or the stored one that the query names."""
        broker = broker_key(request)
        triggers = self._mesh.triggers(broker)
        if request.method == "POST":
            event, at, to = await self._posted(request), None, None
        else:
            stored = await _stored(request, self._mesh.channel(broker))
            event, at, to = stored.event, stored.at, stored.to
        # Beside the loop, which events come in by: a thousand triggers take some 40 ms.
        explained = await asyncio.to_thread(
            ExplanationDocument.of, broker, triggers, event, at=at, to=to
        )
        return document(explained)

    async def _posted(self, request: Request) -> Event:
        headers = request.headers.raw
        self._intake.announce(headers)
        body = await self._intake.read(request.receive)
        try:
            return only_event(headers, body)
        finally:
            self._intake.release(len(body))


def only_event(headers: Headers, body: bytes) -> Event:
    """Return the one event of an HTTP message, as the data port would take it in.

    Raises `InvalidEvent`, also where there is not just one, or `UnsupportedContent`.
    """
    events = take_in(decode(headers, body))
    if len(events) != 1:
        raise InvalidEvent(f"there are {len(events)} events in the batch; send just one")
    return events[0]


async def _stored(request: Request, channel: Archive) -> Stored:
    """Return the newest event of the id, and the source, that the query names."""
    wanted, source = request.query_params.get("id"), request.query_params.get("source")
    if not wanted:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, "'id' is missing: post an event, or name a stored one by its id"
        )
    newest = await _newest_by_source(channel, wanted, source)
    match list(newest.values()):
        case [stored]:
            return stored
        case []:
            of = "" if source is None else f" and the source '{shown(source)}'"
            detail = (
                f"no event with the id '{shown(wanted)}'{of} is kept: it never came here, "
                "or is older than what the broker retains"
            )
            raise HTTPException(HTTPStatus.NOT_FOUND, detail)
        case several:
            named = ", ".join(f"'{shown(each)}'" for each in list(newest)[:_MAX_SOURCES])
            more = ", …" if len(several) > _MAX_SOURCES else ""
            detail = (
                f"{len(several)} sources have sent an event with the id '{shown(wanted)}': "
                f"{named}{more}; name the source as well"
            )
            raise HTTPException(HTTPStatus.BAD_REQUEST, detail)


async def _newest_by_source(channel: Archive, id: str, source: str | None) -> dict[str, Stored]:
    newest: dict[str, Stored] = {}
    after: str | None = None
    while True:
        page = await channel.history(id=id, after=after, limit=_PAGE)
        newest |= {each.event.source: each for each in page if source in (None, each.event.source)}
        if len(page) < _PAGE:
            return newest
        after = page[-1].position
