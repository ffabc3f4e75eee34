"""Keeps triggers paused: over restarts, and in every process that runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from broker.errors import CemeshError, ChannelUnavailable
from broker.mesh.triggers import TriggerRun
from broker.ports import Channel, Pause
from broker.status import TriggerState

_log: Final = logging.getLogger("cemesh.mesh")

_LOOKS_EVERY: Final = 1.0
"""Seconds after which a process knows what another one has paused or resumed."""


class Pausing:
    """Lets the gates of ``runs`` do what their channels say, while `keep` runs.

    And stores in the channel that a subscriber is gone for good (410), which a gate finds out.
    """

    def __init__(self, runs: Callable[[], Iterable[TriggerRun]]) -> None:
        self._runs = runs
        self._gone: dict[str, tuple[TriggerRun, Pause]] = {}

    async def heed(self, runs: Iterable[TriggerRun]) -> None:
        """Let these pause, or go on, as their channels say."""
        paused: dict[Channel, Mapping[str, Pause] | None] = {}
        for run in runs:
            if run.channel not in paused:
                paused[run.channel] = await _known(run.channel)
            found = paused[run.channel]
            if found is not None and run.trigger.key not in self._gone:
                run.heed(found.get(run.trigger.key))

    async def keep(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            await self._store_the_gone()
            await self.heed(list(self._runs()))

    def changed(self, run: TriggerRun, state: TriggerState) -> None:
        """Note a new state of the run's gate."""
        key = run.trigger.key
        if state.phase != "paused" or state.until is not None:
            self._gone.pop(key, None)
        elif run.pause is None:
            destination = run.trigger.subscriber.url
            why = state.why or "its subscriber is gone"
            pause = Pause(why=why, since=datetime.now(UTC), destination=destination)
            self._gone[key] = run, pause

    async def _store_the_gone(self) -> None:
        for key, (run, pause) in list(self._gone.items()):
            try:
                await run.channel.pauses.put(key, pause)
            except CemeshError as error:  # it stays paused here, and is stored as soon as can be
                extra = {"trigger": key, "why": str(error)}
                _log.warning("pause of trigger not stored yet", extra=extra)
            else:
                run.heed(pause)
                self._gone.pop(key, None)


async def _known(channel: Channel) -> Mapping[str, Pause] | None:
    """Return what is paused, or None where the channel cannot tell now."""
    try:
        return await channel.pauses.all()
    except ChannelUnavailable:  # of which the channel itself tells
        return None
