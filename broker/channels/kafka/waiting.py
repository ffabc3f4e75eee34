"""Waiting for something that many parts bring about, and none of them tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

_LOOKS_EVERY: Final = 0.02


async def until(holds: Callable[[], bool], *, within: timedelta) -> None:
    """Return once it holds, or after that time."""
    clock = asyncio.get_running_loop()
    overdue = clock.time() + within.total_seconds()
    while not holds() and clock.time() < overdue:  # noqa: ASYNC110 - of many parts, rarely and not for long
        await asyncio.sleep(_LOOKS_EVERY)
