"""How a refusal is told to the client: RFC 9457, ``application/problem+json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from broker.errors import (
    CemeshError,
    ChannelFull,
    ChannelUnavailable,
    HopsExhausted,
    InvalidEvent,
    NotParked,
    TooLarge,
    UnknownBroker,
    UnknownTrigger,
    UnsupportedContent,
)
from broker.ports import Reason


class Unauthenticated(CemeshError):
    """The request does not prove who sent it (HTTP 401). ``challenges`` says how it could."""

    def __init__(self, detail: str, *, challenges: str) -> None:
        super().__init__(detail)
        self.challenges = challenges


class Forbidden(CemeshError):
    """The client is known, and may not send to this broker (HTTP 403)."""


def answer_to(error: BaseException) -> Response | None:
    """Return the answer that tells the client this, or None where it is not for the client."""
    detail = str(error)
    match error:
        case TooLarge():
            return problem(413, detail)
        case InvalidEvent():
            return problem(400, detail, attribute=error.attribute, index=error.index)
        case Unauthenticated():
            return problem(401, detail, headers={"WWW-Authenticate": error.challenges})
        case Forbidden():
            return problem(403, detail)
        case UnknownBroker() | UnknownTrigger() | NotParked():
            return problem(404, detail)
        case UnsupportedContent():
            return problem(415, detail)
        case ChannelFull():
            return problem(429, detail, headers=_retry_after(error.retry_after))
        case ChannelUnavailable():
            return problem(503, detail, headers=_retry_after(error.retry_after))
        case _:
            return None


def reason_for(error: BaseException) -> Reason:
    """Return why a request was refused that failed so, as one of a few words."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "fault")


_REASONS: Final[Sequence[tuple[type[CemeshError], Reason]]] = (
    (TooLarge, "too_large"),
    (HopsExhausted, "hops_exhausted"),
    (InvalidEvent, "invalid_event"),  # of which both above are
    (Unauthenticated, "unauthenticated"),
    (Forbidden, "forbidden"),
    (UnknownBroker, "unknown_broker"),
    (UnsupportedContent, "unsupported_content"),
    (ChannelFull, "channel_full"),
    (ChannelUnavailable, "channel_unavailable"),
)


def problem(
    status: int,
    detail: str | None = None,
    *,
    attribute: str | None = None,
    index: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response with that status and a problem document of what is not None."""
    members = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "attribute": attribute,
        "index": index,
    }
    document = {name: value for name, value in members.items() if value is not None}
    return Response(
        json.dumps(document), status, headers=headers, media_type="application/problem+json"
    )


def _retry_after(delay: timedelta) -> Mapping[str, str]:
    return {"Retry-After": str(max(1, math.ceil(delay.total_seconds())))}
