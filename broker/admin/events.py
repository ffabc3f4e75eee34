"""Stored events over the admin API: what a broker still keeps, without payloads."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.deadletters import broker_key, page_limit
from broker.admin.models import EventsPage, StoredDocument
from broker.admin.responses import document
from broker.event import shown
from broker.status import Operated

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class EventRoutes:
    """The route ``/api/v1/brokers/{namespace}/{name}/events``."""

    def __init__(self, mesh: Operated) -> None:
        self._mesh = mesh

    async def list(self, request: Request) -> Response:
        channel = self._mesh.channel(broker_key(request))
        query = request.query_params
        since, limit = moment_in(request, "since"), page_limit(request)
        try:
            stored = await channel.history(
                since=since, after=query.get("after"), id=query.get("id"), limit=limit
            )
        except ValueError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"'after': {error}") from None
        page = EventsPage(
            events=[StoredDocument.of(each) for each in stored],
            next=stored[-1].position if len(stored) == limit else None,
        )
        return document(page)


def moment_in(request: Request, name: str) -> datetime | None:
    """Return the time that the query gives by that name, None where it gives none."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return msgspec.convert(text, _Moment)
    except msgspec.ValidationError:
        detail = (
            f"'{name}' is '{shown(text)}'; it must be an RFC 3339 time such as "
            "2026-01-31T12:00:00Z (a '+' has to be sent as %2B)"
        )
        raise HTTPException(HTTPStatus.BAD_REQUEST, detail) from None
