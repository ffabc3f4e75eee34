"""Sending events into a broker over the admin API: through the door of the data port."""

from __future__ import annotations

from time import monotonic
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.deadletters import broker_key
from broker.admin.models import EventName, SentDocument
from broker.admin.responses import document
from broker.errors import CemeshError, UnknownBroker
from broker.ingress import Door
from broker.ingress.storing import store

_WAY: Final = " over the admin port"


class SendRoutes:
    """The route ``/api/v1/brokers/{namespace}/{name}/send``."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def send(self, request: Request) -> Response:
        broker = broker_key(request)
        entrance = self._door.find(broker)
        if entrance is None:
            raise UnknownBroker(f"the mesh has no broker {broker}")
        began = monotonic()
        try:
            events = await store(self._door, entrance, request.scope, request.receive, way=_WAY)
        except CemeshError as error:
            answer = self._door.refusal(entrance, error, request.scope["headers"], began)
            note(request, problem=str(error))
            return answer
        names = [EventName(source=each.source, id=each.id) for each in events]
        note(request, events=[f"{each.source} {each.id}" for each in names])
        return document(SentDocument(broker=broker, events=names))
