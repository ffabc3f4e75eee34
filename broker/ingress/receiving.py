"""Hands the requests that are a source's to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.ingress.door import Door
from broker.ingress.problems import answer_to, problem, reason_for
from broker.ports import HttpReply, HttpRequest, Reason

_log: Final = logging.getLogger("cemesh.ingress")


class Called(Protocol):
    """A source that is called."""

    @property
    def broker(self) -> str:
        """The broker that it emits into, ``namespace/name``."""
        ...

    async def receive(self, request: HttpRequest) -> HttpReply:
        """Return how to answer the request."""
        ...


class Receiving:
    """Answers the requests by whose path ``receiver`` finds a source.

    Their bodies are bounded, and what is refused counted, as those of events are.
    """

    def __init__(self, door: Door, receiver: Callable[[str], Called | None]) -> None:
        self._door = door
        self._receiver = receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        called = self._receiver(path)
        if called is None:
            self._door.refused(None, 404, "unknown_source")
            await problem(404, "nothing is called by this path")(scope, receive, send)
            return
        reason: Reason = "source"
        try:
            reply = await self._reply(called, scope, receive)
        except ClientDisconnect:
            return  # before its end
        except Exception as error:  # noqa: BLE001  # what is not for the client is logged
            reply, reason = answer_to(error) or _unexpected(path, error), reason_for(error)
        if reply.status_code >= HTTPStatus.BAD_REQUEST:
            self._door.refused(called.broker, reply.status_code, reason)
        await reply(scope, receive, send)

    async def _reply(self, called: Called, scope: Scope, receive: Receive) -> Response:
        intake = self._door.intake
        intake.announce(scope["headers"])
        body = await intake.read(receive)
        try:
            reply = await called.receive(_request(scope, body))
        finally:
            intake.release(len(body))
        return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))


def _request(scope: Scope, body: bytes) -> HttpRequest:
    return HttpRequest(
        method=scope["method"],
        query=scope["query_string"].decode("latin-1"),
        headers=[
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ],
        body=body,
    )


def _unexpected(path: str, error: Exception) -> Response:
    _log.error("request not taken", exc_info=error, extra={"path": path})
    return problem(500)
