"""`pytest --late SEED`: what may come late does, as a plug-in of pytest.

On a busy machine an event loop hears late that a socket can be read, and a thread begins late and
is heard of late. A test, or the code, that counts on haste fails then, once in hundreds of runs;
here it does once in a few. Nothing is late in processes that tests start.
"""

from __future__ import annotations

import os
import random
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

import pytest

_OFTEN: Final = 0.25
"""How much of all is late, by up to a _MOMENT."""

_SELDOM: Final = 0.01
"""How much of all is late by up to a _WHILE."""

_MOMENT: Final = 0.06
_WHILE: Final = 0.5
"""Seconds, of which many tests have a few for whatever they wait for."""

P = ParamSpec("P")
T = TypeVar("T")

Ready = list[tuple[selectors.SelectorKey, int]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--late", metavar="SEED", help="have what may come late come late")


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--late")
    if seed is not None:
        chance = random.Random(seed + os.environ.get("PYTEST_XDIST_WORKER", ""))
        have_selectors_late(chance)
        have_threads_late(chance)


def _pause(chance: random.Random) -> float:
    """Return how late the next is, in seconds."""
    drawn = chance.random()
    if drawn < _OFTEN:
        return chance.random() * (_WHILE if drawn < _SELDOM else _MOMENT)
    return 0.0


def have_selectors_late(chance: random.Random) -> None:
    """Have what is ready be told late, from now on and for good."""
    select = selectors.DefaultSelector.select
    holding: dict[tuple[int, int], float] = {}  # by selector and file, until when

    def select_late(self: selectors.DefaultSelector, timeout: float | None = None) -> Ready:
        told: Ready = []
        waiting = False
        for key, mask in select(self, timeout):
            its, now = (id(self), key.fd), time.monotonic()
            if its not in holding:
                holding[its] = now + _pause(chance)
            if now < holding[its]:
                waiting = True
            else:
                del holding[its]
                told.append((key, mask))
        if waiting and not told and timeout != 0:
            time.sleep(0.001)  # what is held is ready at once when asked for again
        return told

    _put(selectors.DefaultSelector, "select", select_late)


def have_threads_late(chance: random.Random) -> None:
    """Have threads begin late and be heard of late, from now on and for good."""
    submit = ThreadPoolExecutor.submit

    def submit_late(
        self: ThreadPoolExecutor, function: Callable[P, T], /, *args: P.args, **named: P.kwargs
    ) -> Future[T]:
        before, after = _pause(chance), _pause(chance)

        def run_late() -> T:
            time.sleep(before)
            try:
                return function(*args, **named)
            finally:
                time.sleep(after)

        return submit(self, run_late)

    _put(ThreadPoolExecutor, "submit", submit_late)


def _put(owner: type[object], name: str, method: object) -> None:
    setattr(owner, name, method)
