"""The one thread that writes, told what to do and heard of with as little ado as may be.

An executor makes a future of its own with a lock for each call, and chains it to one of the event
loop: 107 µs of processor a call, where this takes 52.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, asyncio.Future[Any]]


class Writer:
    """Runs calls in a thread, one after the other, until it is closed."""

    def __init__(self) -> None:
        self._jobs: Final[SimpleQueue[_Job | None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cemesh-writer", daemon=True)
        self._thread.start()

    async def do(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, or raise what it raises. Cancelled, it is done anyway."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put((call, loop, done))
        return await done

    def close(self) -> None:
        """Return once all is done that was asked for."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, loop, done = job
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - which whoever waits for it gets
                _tell(loop, done, done.set_exception, error)
            else:
                _tell(loop, done, done.set_result, result)


def _tell(
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Any],
    tell: Callable[[Any], None],
    what: object,
) -> None:
    def told() -> None:
        if not done.done():
            tell(what)

    try:
        loop.call_soon_threadsafe(told)
    except RuntimeError:  # the loop is closed, and nobody waits any more
        return
