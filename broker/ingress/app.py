"""The application of the data port: ``POST /NAMESPACE/BROKER`` takes events.

The event path is raw ASGI in front of Starlette, which measured half the time of a Starlette
route; everything else is Starlette's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.callbacks import CONSENT, Callbacks
from broker.codecs.http import decode
from broker.ingress.access import check_access
from broker.ingress.hops import take_in
from broker.ingress.intake import Intake
from broker.ingress.problems import answer_to, problem
from broker.ports import Emit
from broker.trigger import Access, Broker

_log: Final = logging.getLogger("cemesh.ingress")

_STORED: Final[Message] = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-length", b"0")],
}
_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b""}

_ALLOW: Final = {"Allow": "POST, OPTIONS"}
_CONSENT: Final = {**_ALLOW, "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """A broker as the ingress sees it: who may come in, and where what comes in goes."""

    broker: Broker
    emit: Emit


Find = Callable[[str], Entrance | None]
"""Return the broker ``namespace/name``, or None where none of that name takes events."""


def ingress(
    find: Find,
    *,
    clients: Callable[[], Iterable[Access]],
    max_event_bytes: int,
    max_pending_bytes: int,
    on_refused: Callable[[str, int], None],
    callbacks: Callbacks | None = None,
) -> Starlette:
    """Return the application of the data port.

    ``find`` and ``clients``, the accesses of all brokers of the mesh, are asked at every
    request, so that both may change. ``max_event_bytes`` bounds the body of one request,
    ``max_pending_bytes`` all bodies together that are being read or stored. ``on_refused`` is
    told the broker's key and the HTTP status of every request that a broker refused. Subscribers
    consent through ``callbacks``.
    """
    intake = Intake(max_event_bytes=max_event_bytes, max_pending_bytes=max_pending_bytes)
    return Starlette(
        routes=[
            Route(CONSENT + "{secret}", _Consents(callbacks or Callbacks())),
            Route("/{path:path}", _Beside(find)),
        ],
        middleware=[
            Middleware(_Door, find=find, clients=clients, intake=intake, on_refused=on_refused)
        ],
        exception_handlers={404: _not_found, Exception: _unexpected},
    )


class _Door:
    """Takes the events that are posted to a broker, and lets every other request pass on."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        find: Find,
        clients: Callable[[], Iterable[Access]],
        intake: Intake,
        on_refused: Callable[[str, int], None],
    ) -> None:
        self._app = app
        self._find = find
        self._clients = clients
        self._intake = intake
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entrance = None
        if scope["type"] == "http" and scope["method"] == "POST":
            entrance = self._find(scope["path"][1:])
        if entrance is None:
            await self._app(scope, receive, send)
            return
        try:
            refusal = await self._take(entrance, scope, receive)
        except ClientDisconnect:
            return
        if refusal is None:
            await send(_STORED)
            await send(_NO_BODY)
        else:
            self._on_refused(entrance.broker.key, refusal.status_code)
            await refusal(scope, receive, send)

    async def _take(self, entrance: Entrance, scope: Scope, receive: Receive) -> Response | None:
        """Return once the events of this request are durable, or how to answer if they are not.

        Raises `ClientDisconnect`, having stored nothing, if the client goes before its end.
        """
        try:
            await self._store(entrance, scope, receive)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001  # what is not for the client is logged below
            answer = answer_to(error)
            if answer is None:
                _log.exception("event not taken", extra={"broker": entrance.broker.key})
                answer = problem(500)
            return answer
        return None

    async def _store(self, entrance: Entrance, scope: Scope, receive: Receive) -> None:
        headers = scope["headers"]
        check_access(entrance.broker, self._clients, headers)
        body = await self._intake.read(headers, receive)
        try:
            events = take_in(decode(headers, body))
            if events:
                await entrance.emit(events)
        finally:
            self._intake.release(body)


class _Beside:
    """Answers what is not an event for a broker that runs: consent, 405 and 404."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if self._find(path[1:]) is None:
            return problem(404, "no broker takes events at this path: POST /NAMESPACE/BROKER")
        if request.method == "OPTIONS":
            return Response(headers=_CONSENT)
        return problem(405, "events are taken by POST", headers=_ALLOW)


class _Consents:
    """Takes the consent of subscribers that give it later (WebHook 1.0.2, section 4.1.3)."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        consenting = self._callbacks.at(request.scope["path"])
        if consenting is None:
            return problem(404, "nobody asks for consent here, or not any more")
        if request.method not in ("GET", "POST"):
            return problem(405, "consent is given by GET or POST", headers={"Allow": "GET, POST"})
        rate = request.headers.get("webhook-allowed-rate")
        fault = consenting.take(None if rate is None else rate.encode("latin-1"))
        if fault is not None:
            return problem(400, fault)
        return Response("You have consented to get events.\n", media_type="text/plain")


async def _not_found(request: Request, error: Exception) -> Response:
    return problem(404)


async def _unexpected(request: Request, error: Exception) -> Response:
    return problem(500)
