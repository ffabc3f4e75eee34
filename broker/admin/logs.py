"""The level of the log over the admin API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import get_args

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.models import LogDocument, LogRequest
from broker.admin.pausing import small_body
from broker.admin.responses import document
from broker.observe.logging import Level, current_level

SetLevel = Callable[[Level], Awaitable[None]]
"""Have all processes of the mesh log from that level on."""


class LogRoutes:
    """The route ``/api/v1/log``."""

    def __init__(self, set_level: SetLevel) -> None:
        self._set_level = set_level

    async def level(self, request: Request) -> Response:
        if request.method == "PUT":
            wanted = await _wanted(request)
            note(request, before=current_level(), level=wanted)
            await self._set_level(wanted)
        return document(LogDocument(level=current_level()))


async def _wanted(request: Request) -> Level:
    try:
        asked = msgspec.json.decode(await small_body(request), type=LogRequest).level
    except msgspec.DecodeError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
    for level in get_args(Level):
        if asked == level:
            found: Level = level
            return found
    *levels, last = get_args(Level)
    detail = f"'{asked}' is no level of the log: {', '.join(levels)} or {last}"
    raise HTTPException(HTTPStatus.BAD_REQUEST, detail)
