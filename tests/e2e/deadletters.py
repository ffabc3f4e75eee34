"""The dead letters of a running mesh, as its API lists them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import msgspec

from broker.admin.models import DeadLetterPage, DeadLetterSummary
from tests.services.mesh import RunningMesh


async def dead_letters(
    mesh: RunningMesh, broker: str, count: int, *, within: float = 30.0
) -> Sequence[DeadLetterSummary]:
    """Return the dead letters of ``namespace/name`` once there are as many as that.

    They are counted when they are buried, and listed when that is durable, a moment later.
    """
    found: Sequence[DeadLetterSummary] = []
    try:
        async with asyncio.timeout(within):
            while len(found := await _all(mesh, broker)) < count:
                await asyncio.sleep(0.02)
    except TimeoutError as late:
        late.add_note(f"{count} were counted, and {len(found)} are listed")
        raise
    return found


async def dead_letters_of(
    mesh: RunningMesh, broker: str, events: Collection[str], *, within: float = 30.0
) -> Sequence[DeadLetterSummary]:
    """Return the dead letters of ``namespace/name`` once there is one of each event of that id.

    An event that two processes bury, since one was killed or the event was stored twice by a
    producer that repeated it, may be counted twice and be one dead letter.
    """
    found: Sequence[DeadLetterSummary] = []
    missing = set(events)
    try:
        async with asyncio.timeout(within):
            while missing:
                found = await _all(mesh, broker)
                missing = set(events).difference(each.event.id for each in found)
    except TimeoutError as late:
        late.add_note(f"not among the dead letters: {sorted(missing)}")
        raise
    return found


async def _all(mesh: RunningMesh, broker: str) -> Sequence[DeadLetterSummary]:
    found: list[DeadLetterSummary] = []
    query: str | None = "limit=1000"
    while query is not None:
        path = f"/api/v1/brokers/{broker}/deadletters?{query}"
        answer = await mesh.request("GET", path, port=mesh.admin_port)
        assert answer.status == 200, answer
        page = msgspec.json.decode(answer.body, type=DeadLetterPage)
        found += page.dead_letters
        query = page.next and f"limit=1000&after={page.next}"
    return found
