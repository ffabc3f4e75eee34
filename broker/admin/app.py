"""The Starlette application of the admin port."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from broker.admin.auditing import Audited
from broker.admin.console import Console
from broker.admin.deadletters import DeadLetterRoutes, broker_key
from broker.admin.editing import EditRoutes
from broker.admin.events import EventRoutes
from broker.admin.explaining import TriggerRoutes
from broker.admin.guard import Guard
from broker.admin.logs import LogRoutes, SetLevel
from broker.admin.models import ManifestsDocument, Ready, StatusDocument
from broker.admin.parked import ParkedRoutes
from broker.admin.pausing import PauseRoutes
from broker.admin.responses import document, http_problem, mesh_problem, unexpected_problem
from broker.admin.sending import SendRoutes
from broker.admin.stories import StoryRoutes
from broker.admin.tail import Tail, filter_in
from broker.errors import CemeshError
from broker.ingress import Door
from broker.observe.audit import AuditLog
from broker.observe.metrics import CONTENT_TYPE, Metrics
from broker.ports.stories import Stories
from broker.status import Operated


def admin(
    mesh: Operated,
    metrics: Metrics,
    closing: asyncio.Event,
    *,
    door: Door,
    stories: Stories | None,
    audit: AuditLog,
    set_log_level: SetLevel,
    known_clients_only: bool = False,
) -> Starlette:
    """Return the application of the admin port.

    Set ``closing`` when the server is to stop: it ends the streams that clients follow, which
    the server would otherwise wait for. What is sent or edited over it goes through the ``door`` of
    the data port. What is changed by it is in ``audit``; ``stories`` are None where none are kept.
    Of a client without a certificate, only probes are answered where it is for
    ``known_clients_only``.
    """
    routes = _Routes(mesh, metrics, closing)
    letters = DeadLetterRoutes(mesh)
    triggers = TriggerRoutes(mesh, metrics)
    pauses = PauseRoutes(mesh)
    parked = ParkedRoutes(mesh)
    told = StoryRoutes(mesh, stories)
    broker = "/api/v1/brokers/{namespace}/{name}"
    trigger = "/api/v1/triggers/{namespace}/{name}"
    return Starlette(
        routes=[
            *Console().routes(),
            Route("/healthz", routes.healthz),
            Route("/readyz", routes.readyz),
            Route("/metrics", routes.metrics),
            Route("/api/v1/status", routes.status),
            Route("/api/v1/manifests", routes.manifests),
            Route("/api/v1/log", LogRoutes(set_log_level).level, methods=["GET", "PUT"]),
            Route("/api/v1/stories", told.search),
            Route("/api/v1/story", told.show),
            Route(f"{broker}/tail", routes.tail),
            Route(f"{broker}/events", EventRoutes(mesh).list),
            Route(f"{broker}/triggers", triggers.list),
            Route(f"{broker}/explain", triggers.explain, methods=["GET", "POST"]),
            Route(f"{broker}/deadletters", letters.list),
            Route(f"{broker}/deadletters/redrive", letters.redrive, methods=["POST"]),
            Route(f"{broker}/deadletters/causes", letters.causes),
            Route(f"{broker}/deadletters/{{id}}", letters.show),
            Route(f"{broker}/deadletters/{{id}}/payload", letters.payload),
            Route(
                f"{broker}/deadletters/{{id}}/redrive",
                EditRoutes(mesh, door).redrive,
                methods=["POST"],
            ),
            Route(f"{broker}/send", SendRoutes(door).send, methods=["POST"]),
            Route(f"{trigger}/attempts", triggers.attempts),
            Route(f"{trigger}/delivery", triggers.delivery),
            Route(f"{trigger}/pause", pauses.pause, methods=["POST"]),
            Route(f"{trigger}/resume", pauses.resume, methods=["POST"]),
            Route(f"{trigger}/parked", parked.list),
            Route(f"{trigger}/parked/retry", parked.retry, methods=["POST"]),
            Route(f"{trigger}/parked/skip", parked.skip, methods=["POST"]),
        ],
        middleware=[
            Middleware(Guard, known_clients_only=known_clients_only),
            Middleware(Audited, audit=audit, reading={f"{broker}/explain"}),
        ],
        exception_handlers={
            HTTPException: http_problem,
            CemeshError: mesh_problem,
            Exception: unexpected_problem,
        },
    )


class _Routes:
    def __init__(self, mesh: Operated, metrics: Metrics, closing: asyncio.Event) -> None:
        self._mesh = mesh
        self._metrics = metrics
        self._closing = closing

    async def healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        reasons = await self._mesh.not_ready()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return document(Ready(ready=not reasons, reasons=reasons), status)

    async def metrics(self, _: Request) -> Response:
        scrape = self._metrics.scrape(await self._mesh.status())
        told = await asyncio.to_thread(scrape)
        return Response(told, headers={"Content-Type": CONTENT_TYPE})

    async def status(self, _: Request) -> Response:
        return document(StatusDocument.of(await self._mesh.status()))

    async def manifests(self, _: Request) -> Response:
        return document(ManifestsDocument.of(await self._mesh.status()))

    async def tail(self, request: Request) -> Response:
        channel = self._mesh.channel(broker_key(request))
        return Tail(channel, self._closing, filter_in(request))
