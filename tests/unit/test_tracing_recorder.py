"""What the recorder makes of what it is told, against a collector."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from broker.event import Event
from broker.observe.tracing import exporting
from broker.observe.tracing.recorder import Recorder
from broker.ports import Accepted, Answer, Origin, Refused, Verdict
from tests.services.collector import Collector, named, names, one
from tests.watching import EVENT, attempt

SOON = timedelta(seconds=30)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST = Origin("request", "127.0.0.1")


@asynccontextmanager
async def recording(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> AsyncIterator[Recorder]:
    """Yield a recorder, all of whose spans have come once this is left."""
    for name, value in (collector.environment | environment).items():
        monkeypatch.setenv(name, value)
    recorder = Recorder("http://collector.test")
    try:
        yield recorder
    finally:
        await recorder.close(SOON)


def arrive(recorder: Recorder, event: Event = EVENT, parent: str | None = None) -> Event:
    [event], origin = recorder.arrive([event], REQUEST, parent=parent)
    recorder.accepted("default/default", [event], origin, 0.5)
    return event


async def test_an_attempt_says_where_it_went_and_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as collector:
        async with recording(collector, monkeypatch) as recorder:
            event = arrive(recorder, parent=PARENT)
            refused = Refused(reason="timed out")
            told = attempt("default/audit", Verdict.RETRY, 2.0, event=event, answer=refused)
            accepted_at = datetime.fromtimestamp(told.began - 60, UTC)
            recorder.attempted(
                told._replace(trace=recorder.begin(event).trace, accepted_at=accepted_at)
            )

    arrived = one(collector.spans, "publish default/default")
    waited = one(collector.spans, "receive default/audit")
    tried = one(collector.spans, "deliver default/audit")
    assert (arrived.kind, waited.kind, tried.kind) == ("SERVER", "CONSUMER", "CLIENT")
    assert (arrived.ended - arrived.began) / 1e9 == pytest.approx(0.5)
    assert (waited.ended - waited.began) / 1e9 == pytest.approx(60)
    assert tried.began == waited.ended
    assert (tried.ended - tried.began) / 1e9 == pytest.approx(2)
    assert tried.fault == "timed out"
    assert tried.attributes == {
        "messaging.system": "cemesh",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default/default",
        "messaging.destination.subscription.name": "default/audit",
        "messaging.message.id": "1",
        "messaging.message.body.size": 0,
        "cloudevents.event_id": "1",
        "cloudevents.event_source": "/orders",
        "cloudevents.event_spec_version": "1.0",
        "cloudevents.event_type": "order.placed",
        "http.request.method": "POST",
        "server.address": "subscriber.test",
        "server.port": 80,
        "error.type": "no_answer",
        "cemesh.broker": "default/default",
        "cemesh.trigger": "default/audit",
        "cemesh.attempt.to": "subscriber",
        "cemesh.attempt.number": 1,
        "cemesh.attempt.verdict": "retry",
        "cemesh.attempt.last": False,
    }


async def test_only_the_first_attempt_at_the_subscriber_has_a_wait_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as collector:
        async with recording(collector, monkeypatch) as recorder:
            event = arrive(recorder)
            trace = recorder.begin(event).trace
            told = attempt("default/audit", event=event)._replace(trace=trace)
            recorder.attempted(told._replace(number=2))
            recorder.attempted(told._replace(to="dead-letter sink", destination="broker://a/b"))

    assert sorted(names(collector.spans)) == [
        "dead-letter default/audit",
        "deliver default/audit",
        "publish default/default",
    ]
    [letter] = named(collector.spans, "dead-letter default/audit")
    assert letter.attributes["cemesh.destination.scheme"] == "broker"


@pytest.mark.parametrize(
    ("sampler", "argument", "recorded"),
    [
        ("always_off", "", []),
        ("traceidratio", "0", []),
        ("parentbased_always_off", "", ["of a parent"]),
        ("parentbased_traceidratio", "1", ["of a parent", "of none"]),
    ],
)
async def test_the_environment_says_what_is_sampled(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, recorded: list[str]
) -> None:
    told = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    with Collector() as collector:
        async with recording(collector, monkeypatch, **told) as recorder:
            arrive(recorder, _with_id("of none"))
            event = arrive(recorder, _with_id("of a parent"), PARENT)
            flags = (recorder.begin(event).trace or "")[-2:]

    found = sorted(str(span.attributes["messaging.message.id"]) for span in collector.spans)
    assert found == recorded
    assert flags == ("01" if "of a parent" in recorded else "00")


@pytest.mark.parametrize(
    ("answer", "fault"), [(Accepted(status=202), None), (Refused(reason="no", status=500), "no")]
)
async def test_a_batch_is_a_child_of_the_first_attempt_that_is_sampled(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, fault: str | None
) -> None:
    with Collector() as collector:
        async with recording(collector, monkeypatch) as recorder:
            unsampled = recorder.begin(arrive(recorder, parent=PARENT.removesuffix("1") + "0"))
            sampled = recorder.begin(arrive(recorder, parent=PARENT))

            async def send(events: object) -> Answer:
                return answer

            assert (
                await recorder.send_together("default/audit", [unsampled, sampled], send) == answer
            )

    together = one(collector.spans, "deliver batch default/audit")
    assert sampled.trace == f"00-{together.trace}-{together.parent}-01"
    assert [f"00-{trace}-{span}-00" for trace, span in together.links] == [unsampled.trace]
    assert (together.fault, together.attributes["http.response.status_code"]) == (
        fault,
        answer.status,
    )


@pytest.mark.parametrize(("status", "fault"), [(503, "channel_unavailable"), (429, None)])
async def test_a_refused_request_is_a_fault_where_the_mesh_has_it(
    monkeypatch: pytest.MonkeyPatch, status: int, fault: str | None
) -> None:
    with Collector() as collector:
        async with recording(collector, monkeypatch) as recorder:
            recorder.refuse(
                "default/default", status, "channel_unavailable", parent=PARENT, seconds=2.0
            )

    span = one(collector.spans, "publish default/default")
    assert f"00-{span.trace}-{span.parent}-01" == PARENT
    assert (span.kind, span.fault) == ("SERVER", fault)
    assert (span.ended - span.began) / 1e9 == pytest.approx(2)
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes["error.type"] == "channel_unavailable"


async def test_a_collector_that_takes_nothing_is_told_of_once_and_once_when_it_does_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1"}
    with Collector() as gone:
        pass
    with caplog.at_level(logging.WARNING):
        async with recording(gone, monkeypatch, **late) as recorder:
            for _ in range(3):
                arrive(recorder)
                recorder._leaving.force_flush()
            with Collector(gone.port) as collector:
                for _ in range(2):
                    arrive(recorder)
                    recorder._leaving.force_flush()

    assert len(collector.spans) == 2
    assert [each.message for each in caplog.records] == [
        "traces not taken, and dropped until they are",
        "traces taken again",
    ]
    first, again = (vars(each) for each in caplog.records)
    assert first["endpoint"] == "http://collector.test"
    assert again["spans_lost"] == 3


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "Transient error with url: /?key=s3cret (Caused by [Errno 111] Connection refused'))",
            "Connection refused",
        ),
        ("it is at http://x/v1/traces?key=s3cret", "it is at http://x/v1/traces"),
        ("Failed to export spans batch code: 401, reason: Unauthorized",) * 2,
    ],
)
def test_why_spans_are_not_taken_is_told_shortly_and_without_a_query(said: str, why: str) -> None:
    assert exporting._why(said) == why


async def test_spans_that_nobody_can_send_in_time_are_dropped_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    few = {"OTEL_BSP_MAX_QUEUE_SIZE": "2", "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with Collector() as collector, caplog.at_level(logging.WARNING, "cemesh.tracing"):
        async with recording(collector, monkeypatch, **few) as recorder:
            for number in range(500):
                arrive(recorder, _with_id(str(number)))

    assert len(collector.spans) < 500
    assert [each.message for each in caplog.records].count(
        "traces dropped, as more come than can be sent"
    ) == 1


async def test_a_collector_that_never_answers_does_not_keep_the_process_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    recorder = Recorder("http://collector.test")
    arrive(recorder)

    async with asyncio.timeout(SOON.total_seconds()):
        await recorder.close(timedelta(seconds=0.1))

    held.set()
    server.close()


def _with_id(id: str) -> Event:
    return Event({**EVENT.attributes, "id": id})
