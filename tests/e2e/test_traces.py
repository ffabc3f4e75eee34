"""Traces: what a collector is sent of each event, by the real mesh as a process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from broker.event import Event
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import DELIVERY_POLICY, broker, event, manifest, trigger, trigger_to_broker
from tests.services.collector import Collector, Span, Spans, environment, named, names, one
from tests.services.mesh import RunningMesh, free_port
from tests.services.subscribers import Subscriber, reply

BROKER = "default/default"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PRODUCER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=a,other=b"}
ATTRIBUTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

JSON = {"content-type": "application/json"}
PUBLISH = "publish default/default"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def traced(tmp_path: Path) -> Callable[..., RunningMesh]:
    """Return ``traced(manifest, environment)``: a mesh that is to send its traces."""

    def make(manifest: str, environment: Mapping[str, str], *arguments: str) -> RunningMesh:
        folder = tmp_path / "mesh"
        return RunningMesh(folder, manifest, environment=environment, arguments=arguments)

    return make


Traced = Callable[..., RunningMesh]


def head(event: Event) -> dict[str, str]:
    told = {f"ce-{name}": value for name, value in event.attributes.items()}
    return told | {"content-type": told.pop("ce-datacontenttype")}


async def send(mesh: RunningMesh, event: Event, headers: Mapping[str, str] = PRODUCER) -> int:
    """Send the event with these headers beside its own."""
    told = head(event) | {**headers}
    return (await mesh.request("POST", f"/{BROKER}", headers=told, body=event.data)).status


async def post(mesh: RunningMesh, path: str, headers: Mapping[str, str], body: bytes) -> int:
    """Ask something of the admin port."""
    port = mesh.admin_port
    return (await mesh.request("POST", path, headers=headers, body=body, port=port)).status


def stored(mesh: RunningMesh, query: str) -> Sequence[tuple[object, ...]]:
    with closing(sqlite3.connect(mesh.data_dir / "cemesh.db")) as file:
        return file.execute(query).fetchall()


def having(*wanted: str) -> Callable[[Spans], bool]:
    """Return whether there are spans of all these names, as many of each."""
    return lambda spans: all(names(spans).count(each) >= wanted.count(each) for each in wanted)


def number(span: Span) -> object:
    return span.attributes["cemesh.attempt.number"]


async def test_a_trace_leads_from_the_producer_over_a_crash_and_a_retry_to_a_replys_delivery(
    traced: Traced,
) -> None:
    answer = {"ce-specversion": "1.0", "ce-id": "r", "ce-source": "/s", "ce-type": "done"}
    with Collector() as collector:
        async with Subscriber() as subscriber:
            url = subscriber.answers("/first", [503, reply(200, answer)])
            first = trigger("first", url, retry=2, backoff="PT2S", type="com.example.thing")
            second = trigger("second", subscriber.url("/second"), type="done")
            text = manifest(broker(), first, second)
            async with traced(text, collector.environment) as mesh:
                sent = event("1").with_attributes({"traceparent": ATTRIBUTE}, {})
                assert await send(mesh, sent) == 202
                await collector.until(having(PUBLISH, "deliver default/first"))
                await mesh.until(lambda _: stored(mesh, "SELECT attempts FROM deferred") == [(1,)])
                await mesh.kill9()
                await mesh.start()
                [replied] = await subscriber.received_at("/second", 1)
                deliveries = ["deliver default/first"] * 2 + ["deliver default/second"]
                spans = await collector.until(having(PUBLISH, PUBLISH, *deliveries))
            requests = await subscriber.received_at("/first", 2)

    published, emitted = named(spans, PUBLISH)
    refused, taken = named(spans, "deliver default/first")
    onward = one(spans, "deliver default/second")
    assert {span.trace for span in spans} == {TRACE}
    assert (published.parent, published.kind) == (SPAN, "SERVER")
    assert one(spans, "receive default/first").parent == published.id
    assert [refused.parent, taken.parent] == [published.id] * 2
    assert (emitted.parent, emitted.kind) == (taken.id, "PRODUCER")
    assert emitted.links == [(TRACE, published.id)]
    assert onward.parent == emitted.id
    assert [(number(each), each.fault) for each in (refused, taken)] == [
        (1, "503 Service Unavailable"),
        (2, None),
    ]
    assert refused.attributes["http.response.status_code"] == 503
    assert refused.attributes["error.type"] == "503"
    assert [each.header("traceparent") for each in requests] == [
        refused.traceparent,
        taken.traceparent,
    ]
    assert {each.header("tracestate") for each in requests} == {PRODUCER["tracestate"]}
    assert {each.header("ce-traceparent") for each in requests} == {ATTRIBUTE}
    assert replied.header("traceparent") == onward.traceparent
    assert replied.header("ce-traceparent") is None


async def test_the_events_own_trace_is_gone_on_with_where_the_request_tells_of_none(
    traced: Traced,
) -> None:
    with Collector() as collector:
        async with Subscriber() as subscriber:
            text = manifest(broker(), trigger("audit", subscriber.url("/")))
            async with traced(text, collector.environment) as mesh:
                of_event = event("1").with_attributes({"traceparent": ATTRIBUTE}, {})
                assert await send(mesh, of_event, {}) == 202
                assert await send(mesh, event("2"), {}) == 202
                spans = await collector.until(having(*["deliver default/audit"] * 2))

    of_trace = {span.attributes["cloudevents.event_id"]: span for span in named(spans, PUBLISH)}
    _, trace, parent, _ = ATTRIBUTE.split("-")
    assert (of_trace["1"].trace, of_trace["1"].parent) == (trace, parent)
    assert (of_trace["2"].trace != trace, of_trace["2"].parent) == (True, "")


async def test_what_was_not_sampled_upstream_is_not_sampled_here(traced: Traced) -> None:
    with Collector() as collector:
        async with Subscriber() as subscriber:
            text = manifest(broker(), trigger("audit", subscriber.url("/")))
            async with traced(text, collector.environment) as mesh:
                unsampled = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
                assert await send(mesh, event("1"), unsampled) == 202
                [request] = await subscriber.received_at("/", 1)
                assert await send(mesh, event("2")) == 202
                await collector.until(having("deliver default/audit"))

    assert {span.attributes["cloudevents.event_id"] for span in collector.spans} == {"2"}
    sent = request.header("traceparent")
    assert sent is not None
    assert sent.startswith(f"00-{TRACE}-")
    assert sent.endswith("-00")


async def test_a_dead_letter_and_its_redrives_are_of_the_same_trace(traced: Traced) -> None:
    letters = f"/api/v1/brokers/{BROKER}/deadletters"
    with Collector() as collector:
        async with Subscriber() as subscriber:
            subscriber.answers("/", [400, 400, 200])
            text = manifest(broker(), trigger("audit", subscriber.url("/")))
            async with traced(text, collector.environment) as mesh:
                assert await send(mesh, event("1")) == 202
                [letter] = await dead_letters(mesh, BROKER, 1)
                body = json.dumps({"ids": [letter.id]}).encode()
                assert await post(mesh, f"{letters}/redrive", JSON, body) == 200
                await subscriber.received_at("/", 2)
                [letter] = await dead_letters(mesh, BROKER, 1)
                edited = head(event("1", data=b"[]"))
                assert await post(mesh, f"{letters}/{letter.id}/redrive", edited, b"[]") == 200
                wanted = [PUBLISH, "deliver default/audit"] * 3
                spans = await collector.until(having(*wanted))

    published, attempts = named(spans, PUBLISH), named(spans, "deliver default/audit")
    assert {span.trace for span in spans} == {TRACE}
    assert [span.parent for span in published] == [SPAN, published[0].id, published[1].id]
    assert [span.parent for span in attempts] == [span.id for span in published]
    origins = [span.attributes["cemesh.origin"] for span in published]
    assert origins == ["request", "redrive", "redrive"]


async def test_an_event_that_is_handed_to_another_broker_stays_in_its_trace(
    traced: Traced,
) -> None:
    with Collector() as collector:
        async with Subscriber() as subscriber:
            onward = trigger_to_broker("onward", broker="default", to="other")
            audit = trigger("audit", subscriber.url("/"), broker="other")
            text = manifest(broker(), broker("other"), onward, audit)
            async with traced(text, collector.environment) as mesh:
                assert await send(mesh, event("1")) == 202
                spans = await collector.until(having("deliver default/audit"))

    assert one(spans, "deliver default/audit").parent == one(spans, "deliver default/onward").id


async def test_a_request_of_a_batch_is_linked_to_the_attempts_of_its_events(
    traced: Traced,
) -> None:
    with Collector() as collector:
        async with Subscriber() as subscriber:
            policy = {
                "apiVersion": "cemesh.dev/v1alpha1",
                "kind": "DeliveryPolicy",
                "metadata": {"name": "together"},
                "spec": {"batch": {"maxEvents": 2, "maxWait": "PT30S"}},
            }
            audit = json.loads(trigger("audit", subscriber.url("/")))
            audit["metadata"]["annotations"] = {DELIVERY_POLICY: "together"}
            text = manifest(broker(), json.dumps(policy), json.dumps(audit))
            async with traced(text, collector.environment) as mesh:
                assert await send(mesh, event("1")) == 202
                assert await send(mesh, event("2"), {}) == 202
                [request] = await subscriber.received_at("/", 1)
                wanted = ["deliver batch default/audit", *["deliver default/audit"] * 2]
                spans = await collector.until(having(*wanted))

    together = one(spans, "deliver batch default/audit")
    attempts = named(spans, "deliver default/audit")
    assert request.header("traceparent") == together.traceparent
    first, second = sorted(attempts, key=lambda each: each.trace != together.trace)
    assert (together.parent, together.links) == (first.id, [(second.trace, second.id)])
    assert together.attributes["messaging.batch.message_count"] == 2


async def test_the_process_is_told_of_by_the_environment_and_secrets_by_nothing(
    traced: Traced,
) -> None:
    with Collector() as collector:
        async with Subscriber() as subscriber:
            url = subscriber.url("/hook/s3cret") + "?token=t0ken"
            told = {
                "OTEL_SERVICE_NAME": "orders-mesh",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
                "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=k3y",
            }
            text = manifest(broker(), trigger("audit", url))
            async with traced(text, collector.environment | told) as mesh:
                assert await send(mesh, event("1", data=b'"pay1oad"')) == 202
                spans = await collector.until(having("deliver default/audit"))

    for span in spans:
        assert span.resource["service.name"] == "orders-mesh"
        assert span.resource["deployment.environment.name"] == "test"
    assert collector.headers[0]["x-api-key"] == "k3y"
    everything = repr(spans)
    for secret in ("s3cret", "t0ken", "k3y", "pay1oad"):
        assert secret not in everything
    assert one(spans, "deliver default/audit").attributes["server.address"] == "127.0.0.1"


async def test_every_worker_sends_its_spans_before_it_ends(traced: Traced) -> None:
    count = 8
    with Collector() as collector:
        late = {**collector.environment, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        async with Subscriber() as subscriber:
            text = manifest(broker(), trigger("audit", subscriber.url("/")))
            async with traced(text, late, "--workers", "2") as mesh:
                for each in range(count):
                    assert await send(mesh, event(str(each))) == 202
                await subscriber.received_at("/", count)
                assert await mesh.terminate() == 0
            wanted = [PUBLISH, "deliver default/audit"] * count
            spans = await collector.until(having(*wanted))

    published = {span.id for span in named(spans, PUBLISH)}
    assert {span.parent for span in named(spans, PUBLISH)} == {SPAN}
    assert {span.parent for span in named(spans, "deliver default/audit")} == published


async def test_a_collector_that_is_down_holds_nothing_up_and_is_told_of_once(
    traced: Traced,
) -> None:
    port = free_port()
    impatient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", **environment(port)}
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("audit", subscriber.url("/")))
        async with traced(text, impatient, "--drain-timeout", "1s") as mesh:
            for each in range(50):
                assert await send(mesh, event(str(each))) == 202
            await subscriber.received_at("/", 50)
            await mesh.until(lambda _: "traces not taken" in mesh.output())
            assert await send(mesh, event("more")) == 202
            with Collector(port):
                while "traces taken again" not in mesh.output():
                    assert await send(mesh, event("again")) == 202
            assert await send(mesh, event("last")) == 202
            assert await mesh.terminate() == 0
            output = mesh.output()

    assert output.count("traces not taken") == 1
    assert f"endpoint=http://127.0.0.1:{port} why=" in output
    assert "Traceback" not in output
    assert "opentelemetry" not in output


async def test_a_protocol_that_traces_do_not_go_by_is_refused_at_the_start(traced: Traced) -> None:
    told = {**environment(4317), "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    mesh = traced(manifest(broker()), told)

    with pytest.raises(RuntimeError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'.*http/protobuf"):
        async with mesh:
            pass


async def test_where_no_collector_is_named_nothing_is_imported_and_nothing_stored(
    traced: Traced,
) -> None:
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("audit", subscriber.url("/")))
        async with traced(text, {"PYTHONPROFILEIMPORTTIME": "1"}) as mesh:
            assert await send(mesh, event("1")) == 202
            [request] = await subscriber.received_at("/", 1)
            assert await mesh.terminate() == 0
            imported = mesh.output()

    assert stored(mesh, "SELECT trace FROM log_1") == [(None,)]
    assert "broker.observe.tracing.environment" in imported
    assert "opentelemetry" not in imported
    assert TRACE not in (request.header("traceparent") or TRACE)
