"""Which triggers of a broker are paused: a key for each in the topic of states."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

import msgspec

from broker.channels.kafka.state import StateTopic
from broker.ports import Pause

_PREFIX: Final = "!"
_CHANCES: Final = 1 << 32

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Pause)


class KafkaPauses:
    """See `broker.ports.Pauses`. A key is ``!`` and the trigger's name."""

    def __init__(self, state: StateTopic) -> None:
        self._state = state

    async def all(self) -> Mapping[str, Pause]:
        found = self._state.items(_PREFIX)
        return {key.removeprefix(_PREFIX): _decoder.decode(each) for key, each in found.items()}

    async def put(self, trigger: str, pause: Pause) -> None:
        await self._write(trigger, _encoder.encode(pause))

    async def remove(self, trigger: str) -> None:
        await self._write(trigger, None)

    async def _write(self, trigger: str, value: bytes | None) -> None:
        # Nobody owns these keys: whoever comes last prevails, as for those of `Beginnings`.
        await self._state.caught_up()
        epoch = self._state.epoch(_PREFIX) + 1 + secrets.randbelow(_CHANCES)
        await self._state.write({_PREFIX + trigger: value}, epoch=epoch)
