"""Takes the claims of one trigger, has each attempted, and tells the cursor what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, assert_never

from broker.ports import Buried, Claim, Cursor, Deferred, Settled, Step


class Gate(Protocol):
    """What lets attempts begin."""

    def admit(self, claim: Claim) -> bool:
        """Return whether the claim's attempt may begin, and count it as under way if so."""
        ...

    async def opens(self, claim: Claim) -> None:
        """Return when it is worth asking again for a claim like that one, which was refused."""
        ...

    def leave(self, claim: Claim) -> None:
        """Count an attempt that was admitted as over."""
        ...

    def clear(self) -> None:
        """Count all that were admitted as over."""
        ...


class Dispatcher:
    """One trigger's dispatcher.

    What bounds its concurrency is the cursor's window: each claim that comes is attempted at
    once, and the next comes when one has been dealt with. While the gate is shut, everything
    waits in the channel, where others may come to have it.
    """

    def __init__(self, step: Callable[[Claim], Awaitable[Step]], gate: Gate) -> None:
        self.in_flight = 0
        self._step = step
        self._gate = gate
        self._claiming: asyncio.Task[None] | None = None
        self._stopped = False

    async def run(self, cursor: Cursor) -> None:
        """Dispatch until the claims end or `stop` is called, and what is under way is done.

        Cancelled, it breaks off what is under way; those claims stay out, to be released.
        """
        try:
            async with asyncio.TaskGroup() as attempts:
                if not self._stopped:
                    self._claiming = attempts.create_task(self._claim(cursor, attempts))
        finally:
            self._gate.clear()  # a task that is cancelled before it began does not leave

    def stop(self) -> None:
        """Claim no more. What is under way goes on."""
        self._stopped = True
        if self._claiming is not None:
            self._claiming.cancel()

    async def _claim(self, cursor: Cursor, attempts: asyncio.TaskGroup) -> None:
        async for claim in cursor.claims():
            if self._gate.admit(claim):
                attempts.create_task(self._attempt(cursor, claim))
            else:
                cursor.release(claim)
                await self._gate.opens(claim)

    async def _attempt(self, cursor: Cursor, claim: Claim) -> None:
        self.in_flight += 1
        try:
            step = await self._step(claim)
        finally:
            self.in_flight -= 1
            self._gate.leave(claim)
        match step:
            case Settled():
                cursor.settle(claim, step.outcome)
            case Deferred():
                cursor.defer(claim, step.delay, attempts=step.attempts, condemned=step.condemned)
            case Buried():
                cursor.bury(claim, step.why)
            case _:
                assert_never(step)
