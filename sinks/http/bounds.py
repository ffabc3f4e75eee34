"""Ends an exchange of which a part takes longer than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from broker.policy import Timeouts


class Bounds:
    """Watches one exchange from when its request began to be sent, until `end`.

    ``is_sent`` says whether all of the request is, ``fail`` is called with why the exchange ends.
    """

    def __init__(
        self, timeouts: Timeouts, *, is_sent: Callable[[], bool], fail: Callable[[str], None]
    ) -> None:
        self._timeouts = timeouts
        self._is_sent = is_sent
        self._fail = fail
        self._has_begun = False
        self._timers: list[asyncio.TimerHandle] = []
        self._start(timeouts.write, self._writing_is_over)
        self._start(timeouts.first_byte, self._waiting_is_over)

    def begun(self) -> None:
        """Note that something of the answer has come."""
        if not self._has_begun:
            self._has_begun = True
            self._start(self._timeouts.body, self._reading_is_over)

    def end(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _start(self, within: timedelta | None, over: Callable[[str], None]) -> None:
        if within is not None:
            seconds = within.total_seconds()
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_later(seconds, over, f"{seconds:g} s"))

    def _writing_is_over(self, within: str) -> None:
        if not self._has_begun and not self._is_sent():
            self._fail(f"the request was not taken within {within}")

    def _waiting_is_over(self, within: str) -> None:
        if not self._has_begun:
            self._fail(f"no answer began within {within}")

    def _reading_is_over(self, within: str) -> None:
        self._fail(f"the answer was not complete within {within} of its first byte")
