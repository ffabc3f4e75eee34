"""Takes the claims of one trigger, has each attempted, and tells the cursor what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, assert_never

from broker.ports import Buried, Claim, Cursor, Deferred, Ended, Settled, Step, Underway

Begin = Callable[[Claim, Callable[[Ended], None]], Underway | None]
"""Begin a claim's attempt without a task, if that can be, and tell how it ended."""


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


class Delivering(Protocol):
    """Makes attempts: see `delivery.delivery.Delivery`."""

    async def step(self, claim: Claim) -> Step: ...

    def begin(self, claim: Claim, done: Callable[[Ended], None]) -> Underway | None: ...


class _Begun:
    """A claim whose attempt has no task of its own."""

    __slots__ = ("claim", "underway")

    underway: Underway

    def __init__(self, claim: Claim) -> None:
        self.claim = claim


def _never(_: Claim, __: Callable[[Ended], None]) -> None:
    return None


def _unheard(_: Claim, __: Step) -> None:
    pass


class Dispatcher:
    """One trigger's dispatcher.

    What bounds its concurrency is the cursor's window: each claim that comes is attempted at
    once, and the next comes when one has been dealt with. While the gate is shut, everything
    waits in the channel, where others may come to have it.

    An attempt that ``begin`` does not begin has a task of its own, in which ``step`` is called.
    ``told`` is told of each step but those that were come to without a task.
    """

    def __init__(
        self,
        step: Callable[[Claim], Awaitable[Step]],
        gate: Gate,
        *,
        begin: Begin = _never,
        told: Callable[[Claim, Step], None] = _unheard,
    ) -> None:
        self.in_flight = 0
        self._step = step
        self._begin = begin
        self._told = told
        self._gate = gate
        self._claiming: asyncio.Task[None] | None = None
        self._begun: set[_Begun] = set()
        self._none_begun = asyncio.Event()
        self._stopped = False

    async def run(self, cursor: Cursor) -> None:
        """Dispatch until the claims end or `stop` is called, and what is under way is done.

        Cancelled, it breaks off what is under way; those claims stay out, to be released.
        """
        try:
            async with asyncio.TaskGroup() as attempts:
                if not self._stopped:
                    self._claiming = attempts.create_task(self._claim(cursor, attempts))
                    await self._until_done(self._claiming)
        finally:
            self._gate.clear()  # a task that is cancelled before it began does not leave

    def stop(self) -> None:
        """Claim no more. What is under way goes on."""
        self._stopped = True
        if self._claiming is not None:
            self._claiming.cancel()

    async def _until_done(self, claiming: asyncio.Task[None]) -> None:
        """Return when all are done that have no task of their own, or break them off."""
        try:
            await asyncio.wait([claiming])
            while self._begun:
                self._none_begun.clear()
                await self._none_begun.wait()
        finally:
            for begun in self._begun:
                begun.underway.cancel()
            self.in_flight -= len(self._begun)
            self._begun.clear()

    async def _claim(self, cursor: Cursor, attempts: asyncio.TaskGroup) -> None:
        async for claim in cursor.claims():
            if not self._gate.admit(claim):
                cursor.release(claim)
                await self._gate.opens(claim)
            elif not self._has_begun(cursor, claim, attempts):
                attempts.create_task(self._attempt(cursor, claim, partial(self._step, claim)))

    def _has_begun(self, cursor: Cursor, claim: Claim, attempts: asyncio.TaskGroup) -> bool:
        begun = _Begun(claim)
        underway = self._begin(claim, partial(self._ended, cursor, attempts, begun))
        if underway is None:
            return False
        begun.underway = underway
        self._begun.add(begun)
        self.in_flight += 1
        return True

    def _ended(
        self, cursor: Cursor, attempts: asyncio.TaskGroup, begun: _Begun, how: Ended
    ) -> None:
        self.in_flight -= 1
        self._begun.discard(begun)
        if not self._begun:
            self._none_begun.set()
        if not isinstance(how, Settled):
            _start(attempts, self._attempt(cursor, begun.claim, how))
            return
        try:
            self._gate.leave(begun.claim)
            cursor.settle(begun.claim, how.outcome)
        except Exception as error:  # noqa: BLE001 - nobody awaits this, so a task has to fail
            _start(attempts, _fail(error))

    async def _attempt(
        self, cursor: Cursor, claim: Claim, come: Callable[[], Awaitable[Step]]
    ) -> None:
        self.in_flight += 1
        try:
            step = await come()
        finally:
            self.in_flight -= 1
            self._gate.leave(claim)
        self._told(claim, step)
        match step:
            case Settled():
                cursor.settle(claim, step.outcome)
            case Deferred():
                cursor.defer(claim, step.delay, attempts=step.attempts, condemned=step.condemned)
            case Buried():
                cursor.bury(claim, step.why)
            case _:
                assert_never(step)


def _start(attempts: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
    """Start a task, unless the group is ending: then the claim stays out, to be released."""
    try:
        attempts.create_task(work)
    except RuntimeError:
        work.close()


async def _fail(error: Exception) -> None:
    raise error
