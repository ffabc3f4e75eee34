"""What ordered triggers have parked, over the admin API: list, retry, skip."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.models import ParkedList, ParkedRequest
from broker.admin.pausing import check_why, small_body, trigger_key
from broker.admin.responses import document
from broker.status import Operated, Order


class ParkedRoutes:
    """The routes under ``/api/v1/triggers/{namespace}/{name}/parked``."""

    def __init__(self, mesh: Operated) -> None:
        self._mesh = mesh

    async def list(self, request: Request) -> Response:
        trigger = trigger_key(request)
        return document(ParkedList.of(trigger, await self._mesh.parked(trigger)))

    async def retry(self, request: Request) -> Response:
        return await self._order(request, "retry")

    async def skip(self, request: Request) -> Response:
        return await self._order(request, "skip")

    async def _order(self, request: Request, verb: Literal["retry", "skip"]) -> Response:
        trigger = trigger_key(request)
        wanted = await _wanted(request)
        order = Order(verb=verb, why=wanted.why)
        note(request, why=wanted.why)
        meant = await self._mesh.order(trigger, order, id=wanted.id, source=wanted.source)
        note(request, events=[f"{each.source} {each.id}" for each in meant])
        return document(ParkedList.of(trigger, meant), HTTPStatus.ACCEPTED)


async def _wanted(request: Request) -> ParkedRequest:
    body = await small_body(request)
    try:
        wanted = msgspec.json.decode(body, type=ParkedRequest)
    except msgspec.DecodeError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
    if wanted.all is (wanted.id is not None) or (wanted.all and wanted.source is not None):
        detail = "the request must have either an 'id', with its 'source' or not, or 'all' (true)"
        raise HTTPException(HTTPStatus.BAD_REQUEST, detail)
    check_why(wanted.why)
    return wanted
