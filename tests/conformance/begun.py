"""Attempts without a task over connections at rest, as a dispatcher makes them."""

from __future__ import annotations

import asyncio

from broker.ports import Claim, Ended, Settled, Step
from delivery.delivery import Delivery


async def begun_step(delivery: Delivery, claim: Claim) -> Step | None:
    """Make the claim's next attempt, and return what is to be done; None if it is not begun."""
    ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
    underway = delivery.begin(claim, ended.set_result)
    if underway is None:
        return None
    try:
        how = await ended
    except asyncio.CancelledError:
        underway.cancel()
        raise
    return how if isinstance(how, Settled) else await how()
