"""How far the sources of a broker have come: a key for each in the topic of states."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from typing import Final

from broker.channels.kafka.compacted import PATIENCE
from broker.channels.kafka.rounds import Rounds
from broker.channels.kafka.state import StateTopic
from broker.errors import ChannelUnavailable

_PREFIX: Final = "%"
_CHANCES: Final = 1 << 32


class KafkaCheckpoints:
    """See `broker.ports.Checkpoints`. A key is ``%`` and the source's name.

    A process takes a key over once, and then writes under the same epoch for as long as no other
    has taken it over: so epochs do not grow with every checkpoint, only with every change of hands.
    """

    def __init__(self, state: StateTopic) -> None:
        self._state = state
        self._epochs: dict[str, int] = {}
        self._catching_up: Rounds[None, None] = Rounds(self._catch_up)

    async def get(self, source: str) -> bytes | None:
        await self._catching_up.ask(None)
        return self._state.get(_PREFIX + source)

    async def put(self, source: str, place: bytes) -> None:
        key = _PREFIX + source
        # What another has put by now has to be known, or what is put here might not count.
        await self._catching_up.ask(None)
        epoch = self._epochs.get(key)
        if epoch is None or await self._state.write({key: place}, epoch=epoch):
            epoch = self._epochs[key] = self._state.epoch(key) + 1 + secrets.randbelow(_CHANCES)
            # Whoever takes the key over from now on puts its own at the same time as this one.
            await self._state.write({key: place}, epoch=epoch)

    async def _catch_up(self, asked: Collection[None]) -> Mapping[None, None]:
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await self._state.caught_up()
        except TimeoutError as error:
            raise ChannelUnavailable(
                "the checkpoints of sources are not known, as the broker's topic of states was "
                f"not read to its end within {PATIENCE.total_seconds():.0f} s"
            ) from error
        return dict.fromkeys(asked)
