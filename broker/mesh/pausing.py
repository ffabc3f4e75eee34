"""Keeps triggers paused: over restarts, and in every process that runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
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
        heeded = {run: run.heeded for run in runs}
        paused = {each: await _known(each) for each in {run.channel for run in heeded}}
        for run, before in heeded.items():
            found = paused[run.channel]
            # What was paused or resumed here while it was asked for is later than the answer.
            is_later = run.heeded != before or run.trigger.key in self._gone
            if found is not None and not is_later:
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
            if key in self._gone and self._gone[key][0] is run:  # and not another of the trigger
                del self._gone[key]
        elif run.pause is None:
            destination = run.trigger.subscriber.url
            why = state.why or "its subscriber is gone"
            pause = Pause(why=why, since=datetime.now(UTC), destination=destination)
            self._gone[key] = run, pause

    async def _store_the_gone(self) -> None:
        for key, (run, pause) in list(self._gone.items()):
            now = self._now(run)
            if now.pause is not None or now.trigger.subscriber.url != pause.destination:
                del self._gone[key]  # somebody has paused it since, or changed its subscriber
                continue
            try:
                await run.channel.pauses.put(key, pause)
            except CemeshError as error:  # it stays paused here, and is stored as soon as can be
                extra = {"trigger": key, "why": str(error)}
                _log.warning("pause of trigger not stored yet", extra=extra)
            else:
                await self._stored(run, pause)

    async def _stored(self, run: TriggerRun, pause: Pause) -> None:
        """Heed the pause that is stored, unless somebody paused or resumed it meanwhile."""
        key = run.trigger.key
        is_gone, now = self._gone.pop(key, None) is not None, self._now(run)
        with suppress(CemeshError):  # then it is as is shown, and paused or resumed once more
            if now.pause is not None:
                await run.channel.pauses.put(key, now.pause)
            elif not is_gone:
                await run.channel.pauses.remove(key)
            else:
                run.heed(pause)

    def _now(self, run: TriggerRun) -> TriggerRun:
        """Return what runs in place of a run, or the run itself, if that is nothing."""
        key = run.trigger.key
        return next((each for each in self._runs() if each.trigger.key == key), run)


async def _known(channel: Channel) -> Mapping[str, Pause] | None:
    """Return what is paused, or None where the channel cannot tell now."""
    try:
        return await channel.pauses.all()
    except ChannelUnavailable:  # of which the channel itself tells
        return None
