"""The application of the data port: ``POST /NAMESPACE/BROKER`` takes events.

The event path is raw ASGI in front of Starlette, which measured half the time of a Starlette
route; everything else is Starlette's. On uvicorn, `broker.app.events` takes the events before
they come here: this is the way for other servers, and the one that the other must equal.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.callbacks import CONSENT, Callbacks
from broker.ingress.door import Door
from broker.ingress.problems import problem
from broker.ingress.receiving import Called, Receiving
from broker.ingress.storing import store

_STORED: Final[Message] = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-length", b"0")],
}
_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b""}

_ALLOW: Final = {"Allow": "POST, OPTIONS"}
_CONSENT: Final = {**_ALLOW, "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}


def ingress(
    door: Door,
    *,
    callbacks: Callbacks | None = None,
    receiver: Callable[[str], Called | None] = lambda path: None,
) -> Starlette:
    """Return the application of the data port, in which events come through ``door``.

    Subscribers consent through ``callbacks``. ``receiver`` returns the source that is called by a
    path, or None where none is.
    """
    return Starlette(
        routes=[
            Route(CONSENT + "{secret}", _Consents(callbacks or Callbacks())),
            Route("/{kind}/{namespace}/{name}", Receiving(door, receiver)),
            Route("/{path:path}", _Beside(door)),
        ],
        middleware=[Middleware(_ThroughDoor, door=door)],
        exception_handlers={404: _not_found, Exception: _unexpected},
    )


class _ThroughDoor:
    """Takes the events that are posted to a broker, and lets every other request pass on."""

    def __init__(self, app: ASGIApp, *, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entrance = None
        if scope["type"] == "http" and scope["method"] == "POST":
            entrance = self._door.find(scope["path"][1:])
        if entrance is None:
            await self._app(scope, receive, send)
            return
        began = monotonic()
        try:
            await store(self._door, entrance, scope, receive)
        except ClientDisconnect:
            return  # before its end, so nothing was stored
        except Exception as error:  # noqa: BLE001  # the door logs what is not for the client
            answer = self._door.refusal(entrance, error, scope["headers"], began)
            await answer(scope, receive, send)
            return
        await send(_STORED)
        await send(_NO_BODY)


class _Beside:
    """Answers what is not an event for a broker that runs: consent, 405 and 404."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        entrance = self._door.find(path[1:])
        if entrance is None:
            self._door.refused(None, 404, "unknown_broker")
            return problem(404, "no broker takes events at this path: POST /NAMESPACE/BROKER")
        if request.method == "OPTIONS":
            return Response(headers=_CONSENT)
        self._door.refused(entrance.broker.key, 405, "method_not_allowed")
        return problem(405, "events are taken by POST", headers=_ALLOW)


class _Consents:
    """Takes the consent of subscribers that give it later (WebHook 1.0.2, section 4.1.3)."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "POST"):
            return problem(405, "consent is given by GET or POST", headers={"Allow": "GET, POST"})
        rate = request.headers.get("webhook-allowed-rate")
        allowed_rate = None if rate is None else rate.encode("latin-1")
        try:
            fault = await self._callbacks.take(request.scope["path"], allowed_rate)
        except LookupError:
            return problem(404, "nobody asks for consent here, or not any more")
        if fault is not None:
            return problem(400, fault)
        return Response("You have consented to get events.\n", media_type="text/plain")


async def _not_found(request: Request, error: Exception) -> Response:
    return problem(404)


async def _unexpected(request: Request, error: Exception) -> Response:
    return problem(500)
