"""Has all that is changed over the admin port in the audit log: no route can forget it."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.admin.clients import client_certificate
from broker.admin.models import USER_HEADER
from broker.observe.audit import AuditLog, Change, Detail, Outcome, Who

_FORWARDED: Final = "x-forwarded-user"
"""The header in which a proxy says who has logged in there."""

_MOST: Final = 200
_DETAIL: Final = "cemesh.audit"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_KINDS: Final = {"brokers": "Broker", "triggers": "Trigger"}


def note(request: Request, **detail: Detail) -> None:
    """Have the audit log say this, too, of what the request changes, if it does."""
    request.scope.get(_DETAIL, {}).update(detail)


class Audited:
    """Notes each request that a route takes by a method that may change something.

    Nothing is changed by those of ``reading``, which are paths of routes. What was changed is
    audited before it is answered.
    """

    def __init__(self, app: ASGIApp, *, audit: AuditLog, reading: Collection[str]) -> None:
        self._app = app
        self._audit = audit
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        scope[_DETAIL] = {}
        answered = False

        async def audited(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                await self._note(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, audited)
        except BaseException:
            if not answered:
                await self._note(scope, HTTPStatus.INTERNAL_SERVER_ERROR)
            raise

    async def _note(self, scope: Scope, status: int) -> None:
        route = scope.get("route")
        if route is None or route.path in self._reading or status == HTTPStatus.METHOD_NOT_ALLOWED:
            return
        *_, action = route.path.split("/")
        change = Change(
            action=action,
            subject=_subject(scope, route.path),
            outcome=_outcome(status),
            who=_who(scope),
            detail=scope[_DETAIL],
        )
        await self._audit.note(change)


def _subject(scope: Scope, path: str) -> str:
    named = scope["path_params"]
    kinds = [kind for part, kind in _KINDS.items() if path.startswith(f"/api/v1/{part}/")]
    return " ".join([*kinds, f"{named['namespace']}/{named['name']}"]) if kinds else ""


def _outcome(status: int) -> Outcome:
    if status == HTTPStatus.ACCEPTED:
        return "ordered"
    if status < HTTPStatus.BAD_REQUEST:
        return "done"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "failed"
    return "refused"


def _who(scope: Scope) -> Who:
    headers, client = Headers(scope=scope), scope.get("client")
    claimed, forwarded = headers.get(USER_HEADER), headers.get(_FORWARDED)
    return Who(
        peer=None if client is None else client[0],
        certificate=client_certificate(scope),
        claimed=None if claimed is None else unquote(claimed)[:_MOST],
        forwarded=None if forwarded is None else forwarded[:_MOST],
    )
