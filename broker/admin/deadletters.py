"""Dead letters over the admin API: list, show, redrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.admin.auditing import note
from broker.admin.models import (
    CausesDocument,
    DeadLetterDocument,
    DeadLetterPage,
    DeadLetterSummary,
    RedrivenDocument,
    RedriveRequest,
)
from broker.admin.responses import document
from broker.channels.causes import causes_of
from broker.errors import ChannelFull, ChannelUnavailable
from broker.ports import DeadLetter, DeadLetters, Refusal
from broker.status import Operated, Redriven

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
_BATCH: Final = 100
"""Dead letters redriven in one go: bounds how many events are in memory at a time."""

_MAX_REQUEST: Final = 1 << 20

# What somebody has put into an event must never be a page of the admin port.
_UNTRUSTED: Final = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


def broker_key(request: Request) -> str:
    """Return ``namespace/name`` of the broker that the path names."""
    return f"{request.path_params['namespace']}/{request.path_params['name']}"


class DeadLetterRoutes:
    """The routes under ``/api/v1/brokers/{namespace}/{name}/deadletters``."""

    def __init__(self, mesh: Operated) -> None:
        self._mesh = mesh

    async def list(self, request: Request) -> Response:
        query = request.query_params
        limit = page_limit(request)
        read = await self._store(request).list(
            trigger=query.get("trigger"), after=query.get("after"), limit=limit
        )
        is_wanted = _of_cause(request)
        page = DeadLetterPage(
            dead_letters=[DeadLetterSummary.of(letter) for letter in read if is_wanted(letter.why)],
            next=read[-1].id if len(read) == limit else None,
        )
        return document(page)

    async def causes(self, request: Request) -> Response:
        causes = await causes_of(self._store(request))
        return document(CausesDocument.of(causes))

    async def show(self, request: Request) -> Response:
        return document(DeadLetterDocument.of(await self._letter(request)))

    async def payload(self, request: Request) -> Response:
        letter = await self._letter(request)
        return Response(letter.event.data or b"", headers=_UNTRUSTED)

    async def redrive(self, request: Request) -> Response:
        wanted = await _redrive_request(request)
        if wanted.ids is not None:
            ids = list(dict.fromkeys(wanted.ids))
        else:
            ids = await _all_ids(self._store(request), wanted.trigger)
        result = await self._redrive(broker_key(request), ids)
        note(request, redriven=result.redriven, kept=list(result.kept))
        return document(RedrivenDocument.of(result))

    async def _letter(self, request: Request) -> DeadLetter:
        wanted = request.path_params["id"]
        letter = await self._store(request).get(wanted)
        if letter is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no dead letter '{wanted}'")
        return letter

    def _store(self, request: Request) -> DeadLetters:
        return self._mesh.channel(broker_key(request)).dead_letters

    async def _redrive(self, broker: str, ids: Sequence[str]) -> Redriven:
        redriven: list[str] = []
        kept: dict[str, str] = {}
        for start in range(0, max(1, len(ids)), _BATCH):
            batch = ids[start : start + _BATCH]
            try:
                result = await self._mesh.redrive(broker, batch)
            except (ChannelUnavailable, ChannelFull) as error:
                if start == 0:
                    raise
                # What went before is done: say so, rather than fail as if nothing were.
                kept.update(dict.fromkeys(ids[start:], str(error)))
                break
            redriven += result.redriven
            kept.update(result.kept)
        return Redriven(redriven=redriven, kept=kept)


def page_limit(request: Request) -> int:
    """Return how many items the query asks for at most."""
    text = request.query_params.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise HTTPException(
        HTTPStatus.BAD_REQUEST, f"'limit' is '{text}'; it must be a number from 1 to {MAX_LIMIT}"
    )


def _of_cause(request: Request) -> Callable[[Refusal], bool]:
    """Return what tells whether a refusal is for the cause that the query names, if it does."""
    query = request.query_params
    reason, status = query.get("reason"), query.get("status")
    return lambda why: (
        reason in (None, why.reason)
        and status in (None, "none" if why.status is None else str(why.status))
    )


async def _redrive_request(request: Request) -> RedriveRequest:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_REQUEST:
            detail = f"the request is larger than {_MAX_REQUEST} bytes"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    try:
        wanted = msgspec.json.decode(body, type=RedriveRequest)
    except msgspec.DecodeError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
    said = [wanted.ids is not None, wanted.trigger is not None, wanted.all is True]
    if sum(said) != 1 or wanted.all is False:
        detail = "the request must have exactly one of 'ids', 'trigger' and 'all' (true)"
        raise HTTPException(HTTPStatus.BAD_REQUEST, detail)
    return wanted


async def _all_ids(store: DeadLetters, trigger: str | None) -> list[str]:
    """Return the ids that are there now.

    All of them before the first is redriven: one that fails again at once is buried under a
    new id, which must not be redriven by the same request for ever.
    """
    ids: list[str] = []
    after: str | None = None
    while True:
        page = await store.list(trigger=trigger, after=after, limit=_BATCH)
        ids += [letter.id for letter in page]
        if len(page) < _BATCH:
            return ids
        after = page[-1].id
