"""What a broker in memory keeps beside its events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from broker.event import Event
from broker.ports import DeadLetter, Pause, Refusal

Check = Callable[[], Awaitable[None]]
"""Raises `ChannelUnavailable` while the store is gone."""


class MemoryPauses:
    """See `broker.ports.Pauses`."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._pauses: dict[str, Pause] = {}

    async def all(self) -> Mapping[str, Pause]:
        return dict(self._pauses)

    async def put(self, trigger: str, pause: Pause) -> None:
        await self._check()
        self._pauses[trigger] = pause

    async def remove(self, trigger: str) -> None:
        await self._check()
        self._pauses.pop(trigger, None)


class MemoryCheckpoints:
    """See `broker.ports.Checkpoints`."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._places: dict[str, bytes] = {}

    async def get(self, source: str) -> bytes | None:
        await self._check()
        return self._places.get(source)

    async def put(self, source: str, place: bytes) -> None:
        await self._check()
        self._places[source] = place


class MemoryDeadLetters:
    """See `broker.ports.DeadLetters`."""

    def __init__(self) -> None:
        self._letters: dict[str, DeadLetter] = {}
        self._last = 0

    def add(self, trigger: str, event: Event, why: Refusal) -> None:
        self._last += 1
        letter = DeadLetter(
            id=f"{self._last:016d}",
            trigger=trigger,
            event=event,
            why=why,
            buried_at=datetime.now(UTC),
        )
        self._letters[letter.id] = letter

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        return [
            letter
            for letter in self._letters.values()
            if trigger in (None, letter.trigger) and letter.id > (after or "")
        ][:limit]

    async def get(self, id: str) -> DeadLetter | None:
        return self._letters.get(id)

    async def remove(self, ids: Sequence[str]) -> int:
        return sum(self._letters.pop(each, None) is not None for each in set(ids))
