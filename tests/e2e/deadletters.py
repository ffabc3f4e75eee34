"""The dead letters of a running mesh, as its API lists them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from broker.admin.models import DeadLetterPage, DeadLetterSummary
from tests.services.mesh import RunningMesh


async def dead_letters(
    mesh: RunningMesh, broker: str, count: int, *, within: float = 10
) -> Sequence[DeadLetterSummary]:
    """Return the dead letters of ``namespace/name`` once there are as many as that.

    They are counted when they are buried, and listed when that is durable, a moment later.
    """
    async with asyncio.timeout(within):
        while len(found := await _all(mesh, broker)) < count:
            await asyncio.sleep(0.02)
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
