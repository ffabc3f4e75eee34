"""Leave to send, which somebody gives for a while: a token, or a subscriber's consent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from broker.errors import CemeshError

_log: Final = logging.getLogger("cemesh.delivery")

T = TypeVar("T")

Start = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
"""Run the coroutine as a task of somebody who sees to its end."""

_RENEWED_AFTER: Final = 0.8
"""The share of its time after which a grant is renewed, in good time before it ends."""

_GIVEN_UP_AFTER: Final = 0.98
"""The share of its time after which it is not used any more: clocks differ."""


class NotGranted(CemeshError):
    """There is no leave to send now. ``retry_after`` is when to ask again makes sense."""

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Generic[T]):
    """What was given, and how long it lasts from when it was asked for."""

    value: T = field(repr=False)
    lasts: timedelta


class Grants(Generic[T]):
    """Keeps a grant, and asks for the next: one request at a time, however many wait for it.

    It is renewed before it ends, while what is there is used. Who refuses is asked again after
    ``pause``, and after twice as long each time, up to ``longest_pause``; until then `granted`
    raises at once. One that is not honoured is asked for anew once in ``anew``. It may be given
    without being asked for: whoever waits is told to look again after ``glance`` at most. ``what``
    says what is waited for, ``whose`` who gives it.
    """

    def __init__(
        self,
        what: str,
        whose: str,
        ask: Callable[[], Awaitable[Grant[T]]],
        start: Start,
        *,
        pause: timedelta = timedelta(seconds=1),
        longest_pause: timedelta = timedelta(minutes=1),
        anew: timedelta = timedelta(seconds=30),
        glance: timedelta = timedelta.max,
    ) -> None:
        self._what, self._whose = what, whose
        self._ask = ask
        self._start = start
        self._first_pause, self._longest_pause = pause, longest_pause
        self._anew = anew.total_seconds()
        self._glance = glance
        self._value: T | None = None
        self._given_at = self._renew_at = self._ends_at = 0.0
        self._asking: asyncio.Task[T | NotGranted] | None = None
        self._refusal = NotGranted("")
        self._pause = timedelta()
        self._ask_again_at = 0.0
        self._anew_at = 0.0

    def current(self) -> T | None:
        """Return what is granted, if it is: at once."""
        at = now()
        if at >= self._ends_at:
            self._value = None
        elif at >= self._renew_at and at >= self._ask_again_at:
            _ = self._asked()  # nobody has to wait for it
        return self._value

    async def granted(self, within: timedelta) -> T:
        """Return what is granted, once it is. Raises `NotGranted`."""
        value = self.current()
        if value is not None:
            return value
        if self._asking is None and now() < self._ask_again_at:
            raise self._refused()
        asking = self._asked()
        # Whoever gives up waiting must not end the request for the others.
        await asyncio.wait([asking], timeout=within.total_seconds())
        if not asking.done():
            raise NotGranted(f"no answer within {within.total_seconds():g} s: {self._what}")
        outcome = asking.result()
        if isinstance(outcome, NotGranted):
            raise self._refused()
        return outcome

    async def instead_of(self, value: T, within: timedelta) -> T | None:
        """Return another than ``value``, which was not honoured. Raises `NotGranted`.

        None where that has just been tried: it is not honoured, however new.
        """
        if self._value == value:
            at = now()
            if at < self._anew_at:
                return None
            self._anew_at = at + self._anew
            self._value, self._ends_at = None, at
        return await self.granted(within)

    def give(self, grant: Grant[T]) -> None:
        """Take what is granted without an answer to the last question, or before it."""
        self._keep(grant, now())

    def _refused(self) -> NotGranted:
        left = timedelta(seconds=max(0.0, self._ask_again_at - now()))
        return NotGranted(self._refusal.reason, min(left, self._glance))

    def _asked(self) -> asyncio.Task[T | NotGranted]:
        if self._asking is None:
            self._asking = self._start(self._take())
        return self._asking

    async def _take(self) -> T | NotGranted:
        asked_at = now()
        try:
            grant = await self._ask()
        except NotGranted as refusal:
            if self._value is not None and self._given_at >= asked_at:
                return self._value
            self._pause_after(refusal)
            return refusal
        finally:
            self._asking = None
        self._keep(grant, asked_at)
        return grant.value

    def _keep(self, grant: Grant[T], given_at: float) -> None:
        lasts = grant.lasts.total_seconds()
        self._value, self._given_at = grant.value, given_at
        self._renew_at = given_at + lasts * _RENEWED_AFTER
        self._ends_at = given_at + lasts * _GIVEN_UP_AFTER
        self._pause = timedelta()

    def _pause_after(self, refusal: NotGranted) -> None:
        asked = refusal.retry_after or timedelta()
        self._pause = min(max(self._first_pause, self._pause * 2), self._longest_pause)
        pause = max(self._pause, min(asked, self._longest_pause))
        self._refusal = refusal
        self._ask_again_at = now() + pause.total_seconds()
        if self._value is not None:  # otherwise whoever waits for it tells
            extra = {"destination": self._whose, "why": refusal.reason}
            _log.warning("not renewed", extra=extra)


def now() -> float:
    """Return the time by which grants last, in seconds since some time or other."""
    return asyncio.get_running_loop().time()
