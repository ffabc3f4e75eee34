from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from broker.errors import InvalidEvent
from broker.event import Event
from broker.mesh.sources import SourceRun
from broker.ports import Emit
from broker.trigger import Source
from tests.unit.meshes import make_event, until


class NoSpec(BaseModel):
    """Asks for nothing."""


SOURCE = Source(kind="Test", key="default/mine", broker="default/default", spec=NoSpec())


Work = Callable[[Emit], Coroutine[None, None, None]]
Works = Callable[[Work], None]


class Plugin:
    """A source that does what the test says, each time it runs."""

    Spec: ClassVar[type[Any]] = NoSpec
    work: ClassVar[Work]

    def __init__(self, spec: NoSpec, *, namespace: str, name: str) -> None:
        assert (namespace, name) == ("default", "mine")

    async def run(self, emit: Emit) -> None:
        await type(self).work(emit)


class Collected:
    """An `Emit` that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def __call__(self, events: Sequence[Event]) -> None:
        self.events += events


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Works:
    """Return ``works(work)``: install a source of the kind ``Test`` that does this work."""

    def install(work: Work) -> None:
        monkeypatch.setattr("broker.plugins.source", lambda kind: Plugin)
        monkeypatch.setattr(Plugin, "work", staticmethod(work), raising=False)

    return install


async def test_what_a_source_emits_carries_the_extensions_of_its_manifest(works: Works) -> None:
    async def work(emit: Emit) -> None:
        await emit([make_event("1")])
        await asyncio.Event().wait()

    works(work)
    collected = Collected()
    source = Source(
        kind="Test", key=SOURCE.key, broker=SOURCE.broker, spec=SOURCE.spec, extensions={"a": "b"}
    )
    run = SourceRun(source, collected)
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
        await until(lambda: len(collected.events) == 1)
        assert (run.state, run.error) == ("running", None)
        await run.stop()

    assert collected.events[0].attributes == {**make_event("1").attributes, "a": "b"}


async def test_a_source_that_fails_is_run_again_after_growing_pauses(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    told: list[tuple[str, str | None]] = []
    sleep = asyncio.sleep
    collected = Collected()
    run = SourceRun(SOURCE, collected)

    async def noted(seconds: float) -> None:
        if seconds >= 1:
            pauses.append(seconds)
            told.append((run.state, run.error))
        await sleep(0)

    async def work(emit: Emit) -> None:
        if len(pauses) == 1:
            return
        if len(pauses) < 8:
            raise OSError("no network")
        await emit([make_event("1")])
        await asyncio.Event().wait()

    works(work)
    monkeypatch.setattr(asyncio, "sleep", noted)
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
        while not collected.events:
            await sleep(0)
        assert run.state == "running"
        await run.stop()

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert told[0] == ("restarting", "OSError: no network")
    assert told[1] == ("restarting", "it ended by itself")


async def test_a_source_that_is_stopped_has_ended_when_stop_returns(works: Works) -> None:
    ended = asyncio.Event()

    async def work(emit: Emit) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    works(work)
    run = SourceRun(SOURCE, Collected())
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
        await asyncio.sleep(0)
        await run.stop()
        assert ended.is_set()


@pytest.mark.parametrize(
    ("attributes", "data", "fault"),
    [
        ({"id": ""}, b"", "'id' is empty"),
        ({"subject": "\ud800"}, b"", "U+D800"),
        ({"count": 5}, b"", "'count' is a int, not a str"),
        ({}, "text", "the data is a str, not bytes"),
    ],
)
async def test_an_event_that_is_not_valid_is_refused_to_its_source(
    works: Works, attributes: dict[str, str], data: bytes, fault: str
) -> None:
    refused: list[str] = []

    async def work(emit: Emit) -> None:
        good = make_event("1")
        bad = Event({**good.attributes, **attributes}, data)
        try:
            await emit([good, bad])
        except InvalidEvent as error:
            refused.append(str(error))
        await emit([good])
        await asyncio.Event().wait()

    works(work)
    taken = Collected()
    run = SourceRun(SOURCE, taken)
    async with asyncio.TaskGroup() as tasks:
        run.start(tasks)
        await until(lambda: len(taken.events) == 1)
        await run.stop()

    assert len(refused) == 1
    assert fault in refused[0]
