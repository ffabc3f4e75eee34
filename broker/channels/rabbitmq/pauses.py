"""Which triggers of a broker are paused: told in the stream of what is known."""

from __future__ import annotations

from collections.abc import Mapping

from broker.channels.rabbitmq.state import State
from broker.ports import Pause


class RabbitmqPauses:
    """See `broker.ports.Pauses`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def all(self) -> Mapping[str, Pause]:
        return dict(self._state.ledger.pauses())

    async def put(self, trigger: str, pause: Pause) -> None:
        await self._state.note(pauses={trigger: pause})

    async def remove(self, trigger: str) -> None:
        await self._state.note(pauses={trigger: None})
