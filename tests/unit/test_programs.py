"""Programs on a leash, whenever they are ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from broker.programs import run_program


class Nowhere:
    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("turns", range(0, 40, 4))
async def test_one_that_is_ended_as_it_is_started_leaves_no_descriptors(turns: int) -> None:
    before = descriptors()
    running = asyncio.create_task(
        run_program(["sleep", "100"], None, dict(os.environ), out=Nowhere(), err=Nowhere())
    )
    for _ in range(turns):
        await asyncio.sleep(0)

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    async with asyncio.timeout(30):
        while descriptors() - before:
            await asyncio.sleep(0.01)
