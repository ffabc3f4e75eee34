"""Requests that are shared by all who ask while an earlier one is on its way."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from broker.errors import CemeshError

K = TypeVar("K")
V = TypeVar("V")


@dataclass(eq=False, slots=True)
class _Round(Generic[K, V]):
    """What is asked for together, and what came of it, if it was asked yet."""

    asked: dict[K, None] = field(default_factory=dict)
    outcome: Mapping[K, V] | CemeshError | None = None


class Rounds(Generic[K, V]):
    """Asks once for all: whoever comes while a request is on its way waits for the next one.

    ``serve`` is that request: it returns an answer for each that is asked for, or raises for
    all of them. It never runs twice at the same time.
    """

    def __init__(self, serve: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._serve = serve
        self._turn = asyncio.Lock()
        self._next: _Round[K, V] = _Round()

    async def ask(self, key: K) -> V:
        """Return the answer of a request that began after this call; raise what it raised."""
        mine = self._next
        mine.asked[key] = None
        async with self._turn:
            # The first of a round asks for all; the next, if that one is cancelled.
            if mine is self._next:
                self._next = _Round()
            if mine.outcome is None:
                try:
                    mine.outcome = await self._serve(mine.asked)
                except CemeshError as error:
                    mine.outcome = error
        if isinstance(mine.outcome, CemeshError):
            # One of its own, as each that is raised gathers a traceback.
            raise copy.copy(mine.outcome) from mine.outcome
        return mine.outcome[key]
