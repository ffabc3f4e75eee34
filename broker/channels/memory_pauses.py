"""Which triggers of a broker in memory are paused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from broker.ports import Pause


class MemoryPauses:
    """See `broker.ports.Pauses`. ``check`` raises `ChannelUnavailable` while the store is gone."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
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
