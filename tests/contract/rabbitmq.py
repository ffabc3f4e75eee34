"""What tests on a real RabbitMQ have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.channels.rabbitmq.settings import Settings, from_url, settings

SOON = 30.0
"""Seconds within which whatever is to happen must have happened."""


def settings_of(url: str) -> Settings:
    """Return the settings of a broker that is where ``--channel`` says."""
    return settings("default/test", {}, {}, defaults=from_url(url))


async def until(condition: Callable[[], object], *, within: float = SOON) -> None:
    """Return once the condition holds; raise TimeoutError if it does not."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
