"""What the first who needs it opens, and all others share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedOpening(Generic[T]):
    """Opens something once for all who ask for it at the same time.

    What ``open`` has opened is the owner's to keep, to judge whether it is still good, and to
    close: when it is open, nobody may be waiting for it any more.
    """

    def __init__(self, open: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._open = open
        self._opening: asyncio.Task[T] | None = None

    async def opened(self) -> T:
        """Return what is opened now, or else is opened by this. Raises what ``open`` raises."""
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.create_task(self._open())
            opening.add_done_callback(self._ended)
        # Not the task itself: others wait for it as well, if whoever began it gives up.
        await asyncio.wait([opening])
        return opening.result()

    async def close(self) -> None:
        """Return once nothing is being opened; whoever waits for it is cancelled."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])

    def _ended(self, opening: asyncio.Task[T]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # told or not: whoever waited may have given up
