"""A source that runs: what it is given, what it emits, and what becomes of it when it fails."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

import pytest
from cloudevents.core.v1.event import CloudEvent

from broker.channels.memory import MemoryBackend, MemoryChannel
from broker.errors import ChannelUnavailable, InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.mesh import sources
from broker.mesh.sources import SourceRun
from broker.ports import Emitter, SourceContext
from broker.sourceplugin import source_plugin
from broker.trigger import Source
from tests.unit.meshes import OPTIONS, make_event, until

SOURCE = Source(kind="Test", key="default/mine", broker="default/default", spec=None)

Work = Callable[[Emitter, SourceContext], Coroutine[None, None, None]]


class Bench:
    """Runs sources that do what the test says, into a channel in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = MemoryBackend(OPTIONS)
        self.channel = MemoryChannel(self.backend, OPTIONS.retention_bytes)
        self._monkeypatch = monkeypatch

    @asynccontextmanager
    async def running(
        self, work: Work, source: Source = SOURCE, *, alone: bool = False
    ) -> AsyncIterator[SourceRun]:
        only_one = alone

        class Plugin:
            alone: ClassVar = only_one

            def __init__(self, context: SourceContext) -> None:
                self._context = context

            async def run(self, emit: Emitter) -> None:
                await work(emit, self._context)

        plugin = source_plugin(Plugin, "the test")
        self._monkeypatch.setattr("broker.plugins.source", lambda kind: plugin)
        run = SourceRun(source, lambda: self.channel)
        async with asyncio.TaskGroup() as tasks:
            run.start(tasks)
            try:
                yield run
            finally:
                await run.stop()

    async def stored(self, count: int) -> list[Event]:
        """Return the events once there are so many."""
        await until(lambda: self.channel._log.tail >= count)
        return [each.event for each in await self.channel.history()]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a source that failed not wait for a second."""
    monkeypatch.setattr(sources, "_FIRST_PAUSE", 0.01)


async def _forever() -> None:
    await asyncio.Event().wait()


async def test_what_a_source_emits_carries_the_extensions_of_its_manifest(bench: Bench) -> None:
    async def work(emit: Emitter, context: SourceContext) -> None:
        await emit(make_event("1"))
        await emit([make_event("2"), make_event("3")])
        await emit([])
        await _forever()

    source = Source(
        kind="Test", key=SOURCE.key, broker=SOURCE.broker, spec=None, extensions={"a": "b"}
    )
    async with bench.running(work, source) as run:
        events = await bench.stored(3)
        await until(lambda: run.status.emitted == 3)

        assert [each.id for each in events] == ["1", "2", "3"]
        assert events[0].attributes == {**make_event("1").attributes, "a": "b"}
        assert (run.status.state, run.status.error) == ("running", None)


async def test_a_source_may_emit_events_of_the_sdk(bench: Bench) -> None:
    async def work(emit: Emitter, context: SourceContext) -> None:
        attributes = {"id": "1", "source": context.uri, "type": "a.b", "count": 5}
        await emit(CloudEvent(attributes, {"total": 1}))
        await emit([CloudEvent({**attributes, "id": "2"}, b"\xff"), make_event("3")])
        await _forever()

    async with bench.running(work):
        first, second, third = await bench.stored(3)

        assert first.attributes["source"] == "/apis/v1/namespaces/default/tests/mine"
        assert (first.attributes["count"], first.kinds) == ("5", {"count": "integer"})
        assert [each.id for each in (first, second, third)] == ["1", "2", "3"]


async def test_a_checkpoint_is_there_in_the_next_run_and_for_no_other_source(
    bench: Bench, quickly: None
) -> None:
    loaded: list[object] = []

    async def work(emit: Emitter, context: SourceContext) -> None:
        place = await context.load()
        loaded.append(place)
        if len(loaded) < 3:
            await context.save({"offset": len(loaded), "file": "ä"})
            raise OSError("gone")
        await _forever()

    async with bench.running(work):
        await until(lambda: len(loaded) == 3)

    assert loaded == [None, {"offset": 1, "file": "ä"}, {"offset": 2, "file": "ä"}]
    assert await bench.channel.checkpoints.get("Test default/other") is None


@pytest.mark.parametrize(
    ("place", "fault"),
    [("x" * (64 << 10), "a place of 65,538 bytes is too long"), (float("nan"), "not JSON")],
)
async def test_a_place_that_cannot_be_saved_is_refused(
    bench: Bench, place: str | float, fault: str
) -> None:
    refused: list[str] = []

    async def work(emit: Emitter, context: SourceContext) -> None:
        try:
            await context.save(place)
        except ValueError as error:
            refused.append(str(error))
        await _forever()

    async with bench.running(work):
        await until(lambda: bool(refused))

    assert fault in refused[0] or "not JSON compliant" in refused[0]


async def test_emit_waits_while_the_store_is_away_and_at_once_does_not(bench: Bench) -> None:
    refused: list[str] = []

    async def work(emit: Emitter, context: SourceContext) -> None:
        try:
            await emit.at_once(make_event("now"))
        except ChannelUnavailable as error:
            refused.append(str(error))
        await emit(make_event("1"))
        await context.save(1)
        await _forever()

    bench.backend.outage = "the disk is full"
    async with bench.running(work) as run:
        await until(lambda: run.status.state == "unhealthy")
        assert run.status.error == "the disk is full"
        assert refused == ["the disk is full"]
        bench.backend.outage = None
        events = await bench.stored(1)
        await until(lambda: run.status.state == "running")

        assert [each.id for each in events] == ["1"]
        now = run.status
        assert (now.error, now.restarts) == (None, 0)


async def test_what_at_once_cannot_store_is_seen_until_something_is_stored(bench: Bench) -> None:
    async def work(emit: Emitter, context: SourceContext) -> None:
        while True:
            with suppress(ChannelUnavailable):
                await emit.at_once(make_event("1"))
            await asyncio.sleep(0.01)

    bench.backend.outage = "the disk is full"
    async with bench.running(work) as run:
        await until(lambda: run.status.state == "unhealthy")
        assert run.status.error == "the disk is full"

        bench.backend.outage = None
        await until(lambda: run.status.state == "running")


async def test_what_can_become_no_event_is_a_dead_letter_with_the_reason(bench: Bench) -> None:
    async def work(emit: Emitter, context: SourceContext) -> None:
        await context.reject("not JSON at character 1", id="line 7", data=b"\xff" * 2000)
        await context.reject("no topic", id="\x00\ud800")
        await context.reject("no id", id="")
        await _forever()

    async with bench.running(work) as run:
        await until(lambda: run.status.rejected == 3)

        first, second, third = await bench.channel.dead_letters.list()
        assert (first.trigger, first.event.id, first.event.data) == ("", "line 7", b"\xff" * 2000)
        assert first.event.type == "dev.cemesh.source.rejected"
        assert first.event.source == "/apis/v1/namespaces/default/tests/mine"
        assert (first.why.reason, first.why.destination) == (
            "not JSON at character 1",
            "Test default/mine",
        )
        assert first.why.body == b"\xff" * 1024
        assert second.event.id == "\\x00\\ud800"
        assert third.event.id == "none"
        assert run.status.state == "running"


async def test_a_source_that_fails_is_run_again_after_growing_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    told: list[tuple[str, str | None]] = []
    runs: list[SourceRun] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds >= 1:
            pauses.append(seconds)
            told.append((runs[0].status.state, runs[0].status.error))
        await sleep(0)

    async def work(emit: Emitter, context: SourceContext) -> None:
        if len(pauses) == 1:
            return
        if len(pauses) < 8:
            raise OSError("no network")
        await emit([make_event("1")])
        if len(pauses) < 10:
            raise UpstreamUnavailable("amqp://example.test does not answer")
        await _forever()

    monkeypatch.setattr(asyncio, "sleep", noted)
    async with bench.running(work) as run:
        runs.append(run)
        while bench.channel._log.tail < 3:
            await sleep(0)

        assert (run.status.state, run.status.restarts) == ("running", 10)

    # It began anew where it had worked: what it was is over.
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 1, 1]
    assert told[0] == ("restarting", "OSError: no network")
    assert told[1] == ("restarting", "it ended by itself")
    assert told[9] == ("unhealthy", "amqp://example.test does not answer")


async def test_a_source_that_was_begun_again_runs_when_it_has_shown_that_it_works(
    bench: Bench, quickly: None
) -> None:
    works = asyncio.Event()
    runs = 0

    async def work(emit: Emitter, context: SourceContext) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise UpstreamUnavailable("no route to host")
        await works.wait()
        context.healthy()
        await _forever()

    async with bench.running(work) as run:
        await until(lambda: runs == 2)
        begun = run.status
        works.set()
        await until(lambda: run.status.state == "running")

        assert (begun.state, begun.error) == ("unhealthy", "no route to host")
        assert run.status.error is None


async def test_what_is_amiss_upstream_is_told_in_a_line_and_a_fault_with_its_traceback(
    bench: Bench, quickly: None, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Exception] = [UpstreamUnavailable("no route to host"), KeyError("id")]

    async def work(emit: Emitter, context: SourceContext) -> None:
        if faults:
            raise faults.pop(0)
        await _forever()

    with caplog.at_level(logging.INFO, logger="cemesh.sources"):
        async with bench.running(work) as run:
            await until(lambda: run.status.restarts == 2)

    upstream, fault = caplog.records
    assert (upstream.levelname, upstream.message, upstream.exc_info) == (
        "WARNING",
        "source interrupted",
        None,
    )
    assert (fault.levelname, fault.message) == ("ERROR", "source failed")
    assert fault.exc_info is not None
    frames = traceback.extract_tb(fault.exc_info[2])
    assert frames[0].filename == __file__, "what the mesh did before is of no interest"


async def test_operators_see_what_a_source_says_of_its_upstream(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    well = asyncio.Event()

    async def work(emit: Emitter, context: SourceContext) -> None:
        context.lag(7)
        context.unhealthy("no answer from the server")
        context.unhealthy("no answer from the server, for 10 s")
        await well.wait()
        context.healthy()
        context.healthy()
        await _forever()

    with caplog.at_level(logging.INFO, logger="cemesh.sources"):
        async with bench.running(work) as run:
            await until(lambda: run.status.state == "unhealthy")
            assert run.status.error == "no answer from the server, for 10 s"
            assert run.status.lag == 7
            well.set()
            await until(lambda: run.status.state == "running")
            now = run.status
            assert now.error is None

    assert [each.message for each in caplog.records] == ["source unhealthy", "source healthy"]


async def test_a_source_that_is_to_run_alone_stands_by_while_another_process_runs_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = asyncio.Event()
    names: list[str] = []

    async def alone(name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        names.append(name)
        await free.wait()
        await work()

    async def work(emit: Emitter, context: SourceContext) -> None:
        await emit(make_event("1"))
        await _forever()

    monkeypatch.setattr(bench.channel, "alone", alone)
    async with bench.running(work, alone=True) as run:
        await until(lambda: run.status.state == "standby")
        assert (run.status.error, bench.channel._log.tail) == (None, 0)
        free.set()
        await bench.stored(1)

        assert (run.status.state, names) == ("running", ["Test default/mine"])


async def test_a_source_that_is_stopped_has_ended_when_stop_returns(bench: Bench) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(emit: Emitter, context: SourceContext) -> None:
        begun.set()
        try:
            await _forever()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with bench.running(work) as run:
        await begun.wait()
        await run.stop()
        assert ended.is_set()


async def test_a_source_that_does_not_end_is_left_alone_and_can_store_nothing_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    refused: list[str] = []

    async def work(emit: Emitter, context: SourceContext) -> None:
        begun.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        for attempt in (emit(make_event("late")), context.save(1), context.reject("x", id="y")):
            try:
                await attempt
            except RuntimeError as error:
                refused.append(str(error))

    monkeypatch.setattr(sources, "_ENDS_WITHIN", 0.05)
    async with bench.running(work) as run:
        await begun.wait()
        await run.stop()
        assert "source does not end" in caplog.text
        go_on.set()
        await until(lambda: len(refused) == 3)

    assert bench.channel._log.tail == 0
    assert "Test default/mine has been stopped" in refused[0]


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
    bench: Bench, attributes: dict[str, str], data: bytes, fault: str
) -> None:
    refused: list[InvalidEvent] = []
    good = make_event("1")
    bad = Event({**good.attributes, **attributes}, data)

    async def work(emit: Emitter, context: SourceContext) -> None:
        for events in ([good, bad], bad, "events"):
            try:
                await emit(events)  # type: ignore[arg-type]  # as a plug-in that is not checked
            except InvalidEvent as error:
                refused.append(error)
        await emit([good])
        await _forever()

    async with bench.running(work):
        assert await bench.stored(1) == [Event(good.attributes, None, good.kinds)]

    of_two, of_one, of_text = refused
    assert fault in str(of_two)
    assert (of_two.index, of_one.index) == (1, None)
    assert str(of_text) == "a str is no event: neither ours nor the SDK's"
