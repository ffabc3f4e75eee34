"""Redriving a dead letter over the admin API as another event than the one that was given up."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.deadletters import broker_key
from broker.admin.models import RedrivenDocument
from broker.admin.responses import document
from broker.errors import InvalidEvent
from broker.event import Event
from broker.ingress import Door
from broker.status import Operated


class EditRoutes:
    """The route ``…/deadletters/{id}/redrive`` of a broker."""

    def __init__(self, mesh: Operated, door: Door) -> None:
        self._mesh = mesh
        self._door = door

    async def redrive(self, request: Request) -> Response:
        """Hand the event that is posted to the trigger that gave the dead letter up."""
        letter = request.path_params["id"]
        note(request, letter=letter)
        edited = await self._posted(request)
        note(request, event=f"{edited.source} {edited.id}")
        result = await self._mesh.redrive_edited(broker_key(request), letter, edited)
        note(request, redriven=result.redriven, kept=list(result.kept))
        return document(RedrivenDocument.of(result))

    async def _posted(self, request: Request) -> Event:
        """Return the event of the request, taken as the data port would take it."""
        headers, intake = request.headers.raw, self._door.intake
        intake.announce(headers)
        body = await intake.read(request.receive)
        try:
            events = self._door.events(headers, body)
        finally:
            intake.release(len(body))
        if len(events) != 1:
            raise InvalidEvent(f"there are {len(events)} events in the batch; send just one")
        return events[0]
