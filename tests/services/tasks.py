"""Tells of a test that ran out of time what each of its tasks waited for, as a plug-in of pytest.

A test that hangs is stopped within its event loop, and of that a traceback shows the selector.
"""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Generator, Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, pytest.fail.Exception):
        loop = _stopped(call.excinfo.tb)
        if loop is not None:
            stacks = "\n".join(_told(task) for task in asyncio.all_tasks(loop))
            report.sections.append(("what each task waited for", stacks))
    return report


def _stopped(tb: TracebackType | None) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that ran when the test was stopped, if one did."""
    for frame, _ in traceback.walk_tb(tb):
        loop = frame.f_locals.get("self")
        if isinstance(loop, asyncio.AbstractEventLoop):
            return loop
    return None


def _told(task: asyncio.Task[object]) -> str:
    frames = ((frame, frame.f_lineno) for frame in _awaited(task.get_coro()))
    stack = traceback.StackSummary.extract(frames)
    return "".join([f"{task.get_name()}\n", *stack.format()])


def _awaited(waits: object) -> Iterator[FrameType]:
    """Yield where each coroutine stands that awaits the next, the task's own first."""
    while waits is not None:
        match waits:
            case CoroutineType(cr_frame=frame, cr_await=next_one):
                waits = next_one
            case GeneratorType(gi_frame=frame, gi_yieldfrom=next_one):
                waits = next_one
            case AsyncGeneratorType(ag_frame=frame, ag_await=next_one):
                waits = next_one
            case _:  # what `anext` gives, perhaps
                frame = None
                behind = gc.get_referents(waits)
                waits = next(
                    (each for each in behind if isinstance(each, AsyncGeneratorType)), None
                )
        if frame is not None:
            yield frame
