"""Programs on a leash, whenever they are ended."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from typing import Any

import pytest

from broker.programs import run_program


class Nowhere:
    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...


@pytest.mark.parametrize("turns", range(0, 24, 2))
def test_one_that_is_ended_as_it_is_started_leaves_no_pipes(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin_and_end() -> None:
        loop = asyncio.get_running_loop()
        connect = loop.connect_read_pipe

        # As on a busy machine.
        async def connect_late(*given: Any) -> Any:  # noqa: ANN401 - whatever asyncio gives
            await asyncio.sleep(0.05)
            return await connect(*given)

        monkeypatch.setattr(loop, "connect_read_pipe", connect_late)
        running = asyncio.create_task(
            run_program(["sleep", "100"], None, dict(os.environ), out=Nowhere(), err=Nowhere())
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(begin_and_end())
        gc.collect()

    assert [str(each.message) for each in told] == []
