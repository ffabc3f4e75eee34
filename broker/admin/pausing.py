"""Pausing and resuming triggers over the admin API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.models import PauseDocument, PauseRequest
from broker.admin.responses import document
from broker.status import Operated

_MAX_REQUEST: Final = 16 << 10
_MAX_WHY: Final = 1000


class PauseRoutes:
    """The routes ``/api/v1/triggers/{namespace}/{name}/pause`` and ``…/resume``."""

    def __init__(self, mesh: Operated) -> None:
        self._mesh = mesh

    async def pause(self, request: Request) -> Response:
        trigger = trigger_key(request)
        pause = await self._mesh.pause(trigger, await _why(request))
        return document(PauseDocument(trigger=trigger, why=pause.why, since=pause.since))

    async def resume(self, request: Request) -> Response:
        trigger = trigger_key(request)
        await self._mesh.resume(trigger)
        return document(PauseDocument(trigger=trigger, why=None, since=None))


def trigger_key(request: Request) -> str:
    """Return ``namespace/name`` of the trigger that the path names."""
    return f"{request.path_params['namespace']}/{request.path_params['name']}"


async def small_body(request: Request) -> bytes:
    """Return the body of a request that needs no large one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_REQUEST:
            detail = f"the request is larger than {_MAX_REQUEST} bytes"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return bytes(body)


def check_why(why: str) -> None:
    """Refuse a reason that says nothing, or too much."""
    if not why.strip() or len(why) > _MAX_WHY:
        detail = f"'why' must have 1 to {_MAX_WHY} characters"
        raise HTTPException(HTTPStatus.BAD_REQUEST, detail)


async def _why(request: Request) -> str:
    body = await small_body(request)
    try:
        why = msgspec.json.decode(body, type=PauseRequest).why
    except msgspec.DecodeError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
    check_why(why)
    note(request, why=why)
    return why
