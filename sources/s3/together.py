"""Several requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

_Result = TypeVar("_Result")


async def together(work: Iterable[Awaitable[_Result]]) -> Sequence[_Result]:
    """Return the results of all of it; raise what one of them raises once all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    found: list[_Result] = []
    for each in results:
        if isinstance(each, BaseException):
            raise each
        found.append(each)
    return found
