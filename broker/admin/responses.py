"""Answers of the admin port: JSON documents, and errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.models import ProblemDetails
from broker.errors import CemeshError
from broker.ingress.problems import answer_to


def document(content: msgspec.Struct, status: int = HTTPStatus.OK) -> Response:
    """Return ``content`` as a JSON answer."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as problem details."""
    content = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(
        msgspec.json.encode(content), status, headers, media_type="application/problem+json"
    )


async def http_problem(request: Request, error: Exception) -> Response:
    """Answer what the routes, or the routing itself, refused."""
    if not isinstance(error, HTTPException):
        raise error
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is nothing at {request.url.path}"
    note(request, problem=detail)
    return problem(error.status_code, detail, error.headers)


async def mesh_problem(request: Request, error: Exception) -> Response:
    """Answer what the mesh refused."""
    if not isinstance(error, CemeshError):
        raise error
    answer = answer_to(error)
    if answer is None:
        raise error
    note(request, problem=str(error))
    return answer


async def unexpected_problem(_: Request, __: Exception) -> Response:
    """Answer where the mesh has a bug; the server logs the traceback."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error: see the log of the mesh")
