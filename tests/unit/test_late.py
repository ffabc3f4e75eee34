"""What the tests' own lateness holds back: nothing for ever, and nothing twice."""

from __future__ import annotations

import asyncio
import random
import selectors
import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest

from tests.services import late

LATE, HALF = 0.1, 0.5


class Drawn(random.Random):
    """Draws what was set down."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self._numbers = cycle(numbers)

    def random(self) -> float:
        return next(self._numbers)


@pytest.fixture(autouse=True)
def hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what makes things late, afterwards."""
    for owner, name in ((selectors.DefaultSelector, "select"), (ThreadPoolExecutor, "submit")):
        monkeypatch.setattr(owner, name, getattr(owner, name))


def test_what_is_ready_is_told_late_and_once_for_each_time_that_it_is_read() -> None:
    late.have_selectors_late(Drawn(LATE, HALF))
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        for _ in range(3):
            theirs.send(b"x")
            assert selector.select(30) == []
            while not (told := selector.select(30)):
                pass
            assert [key.fileobj for key, _ in told] == [ours]
            assert ours.recv(10) == b"x"
            assert selector.select(0) == []


async def test_an_event_loop_goes_on_and_threads_tell_what_they_would_have_told() -> None:
    late.have_selectors_late(Drawn(LATE, HALF))
    late.have_threads_late(Drawn(LATE, HALF))

    def fails() -> None:
        raise LookupError("the test")

    assert await asyncio.to_thread(max, 1, 2) == 2
    with pytest.raises(LookupError, match="the test"):
        await asyncio.to_thread(fails)
