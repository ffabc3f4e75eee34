"""Where each trigger begins, and which triggers there are: known to all dispatchers of a broker.

Several may meet a new trigger at once. Each measures the ends of the partitions first, then reads
what others have written, and writes only where nobody has. So whichever record counts in the
end, nothing lies before it that was appended after anybody had been told where to begin.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.rounds import Rounds
from broker.channels.kafka.state import StateTopic

_PREFIX: Final = "@"
_CHANCES: Final = 1 << 32


class _Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trigger as it stands in the topic of states. ``gone`` is whether it was taken off."""

    begins: dict[int, int]
    gone: bool = False


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_Trigger)


class Beginnings:
    """Keeps a key for each trigger in the topic of states: ``@`` and its name.

    What raises, raises `ChannelUnavailable` or `ChannelFull`.
    """

    def __init__(self, state: StateTopic, offsets: Offsets, topic: str) -> None:
        self._state = state
        self._offsets = offsets
        self._topic = topic
        self._entering: Rounds[str, Mapping[int, int]] = Rounds(self._enter)

    async def of(self, trigger: str) -> Mapping[int, int]:
        """Return partition → the offset from which on the trigger gets events.

        That is where the partitions ended when it was first subscribed anywhere, the same ever
        after; a partition that is not among them was added since, and begins at 0. Only where
        several meet a new trigger at once, each may be told another offset the first time.

        A trigger that had gone is back. For one that is known, nothing is asked of Kafka; calls
        for others at the same time share what is.
        """
        found = self._get(trigger)
        return await self._entering.ask(trigger) if found is None or found.gone else found.begins

    async def leave(self, trigger: str) -> None:
        """Note that the trigger was taken off; should it return, it begins where it did."""
        await self._state.caught_up()
        found = self._get(trigger)
        if found is not None and not found.gone:
            await self._write({trigger: _Trigger(begins=found.begins, gone=True)})

    async def forget(self, triggers: Collection[str]) -> None:
        """Let these triggers be new when they return."""
        await self._state.caught_up()
        await self._write(dict.fromkeys(triggers))

    async def triggers(self) -> Collection[str]:
        """Return the triggers that are known and have not been taken off."""
        await self._state.caught_up()
        return [
            key.removeprefix(_PREFIX)
            for key, value in self._state.items(_PREFIX).items()
            if not _decoder.decode(value).gone
        ]

    async def _enter(self, triggers: Iterable[str]) -> Mapping[str, Mapping[int, int]]:
        ends = dict(await self._offsets.ends(self._topic))  # before what others know is read
        await self._state.caught_up()
        entered: dict[str, _Trigger] = {}
        changed: dict[str, _Trigger] = {}
        for trigger in triggers:
            found = self._get(trigger)
            begins = ends if found is None else found.begins
            entered[trigger] = _Trigger(begins=begins)
            if found is None or found.gone:
                changed[trigger] = entered[trigger]
        await self._write(changed)
        # What counts may be what another process wrote meanwhile.
        return {trigger: (self._get(trigger) or entered[trigger]).begins for trigger in entered}

    def _get(self, trigger: str) -> _Trigger | None:
        value = self._state.get(_PREFIX + trigger)
        return None if value is None else _decoder.decode(value)

    async def _write(self, changes: Mapping[str, _Trigger | None]) -> None:
        if not changes:
            return
        # Nobody owns these keys: what is known is overwritten. Of two who do not know of each other
        # one prevails; under the same epoch, each might take its own for what counts.
        epoch = self._state.epoch(_PREFIX) + 1 + secrets.randbelow(_CHANCES)
        encoded = {
            _PREFIX + trigger: None if change is None else _encoder.encode(change)
            for trigger, change in changes.items()
        }
        await self._state.write(encoded, epoch=epoch)
