"""What `cemesh.testing.mesh` promises to those who test their manifests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker.errors import InvalidManifest, UnknownBroker, UnknownTrigger
from broker.manifest import load
from cemesh import Event, Refused
from cemesh.testing import mesh

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
MANIFEST = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: default
  annotations: {eventing.knative.dev/broker.class: Kafka}
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: kafka}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kafka}
data: {bootstrap.servers: "kafka.example.com:9092"}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: orders}
spec:
  broker: default
  filters: [{prefix: {type: order.}}]
  subscriber: {uri: http://orders.example.com/}
  delivery:
    retry: 2
    backoffDelay: PT1M
    deadLetterSink: {uri: http://dead.example.com/}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: all}
spec:
  broker: default
  subscriber: {uri: http://audit.example.com/}
---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: tick}
spec:
  schedule: "* * * * * *"
  sink: {uri: broker://default/default}
"""


def event(id: str, type: str = "order.created") -> Event:
    return Event.checked({"specversion": "1.0", "id": id, "source": "/here", "type": type}, b"1")


async def test_each_trigger_gets_what_its_filter_lets_through() -> None:
    async with mesh(MANIFEST) as running:
        await running.send(event("1"), event("2", "invoice.sent"))

        assert [each.id for each in await running.attempts("default/orders")] == ["1"]
        assert {each.id for each in await running.attempts("default/all", 2)} == {"1", "2"}
        await running.settled()
        assert (await running.books("default/orders")).delivered == 1


async def test_a_refusal_is_tried_again_without_the_wait_of_the_manifest() -> None:
    async with mesh(MANIFEST) as running:
        running.react("default/orders", Refused(reason="busy"), ValueError("broken"))
        await running.send(event("1"))

        attempts = await running.attempts("default/orders", 3)
        await running.settled()

        assert [each.id for each in attempts] == ["1", "1", "1"]
        assert (await running.books("default/orders")).delivered == 1


async def test_what_is_refused_to_the_end_is_a_dead_letter() -> None:
    async with mesh(MANIFEST) as running:
        running.react("default/orders", *[Refused(reason="no such order")] * 3)
        await running.send(event("1"))
        await running.settled()

        (letter,) = await running.dead_letters()
        assert (letter.event.id, letter.why.reason, letter.why.attempts) == (
            *("1", "no such order"),
            3,
        )


async def test_a_reply_comes_back_as_an_event() -> None:
    async with mesh(MANIFEST) as running:
        running.react("default/orders", event("reply", "order.confirmed"))
        await running.send(event("1"))

        assert {each.id for each in await running.attempts("default/all", 2)} == {"1", "reply"}


async def test_sources_run_only_where_they_are_asked_for() -> None:
    async with mesh(MANIFEST, with_sources=True) as running:
        (ping,) = await running.attempts("default/all")
    async with mesh(MANIFEST) as running:
        with pytest.raises(AssertionError, match=r"default/all attempted \[\], and no 1"):
            await running.attempts("default/all", within=timedelta(seconds=1.1))

    assert ping.type == "dev.knative.sources.ping"


async def test_folders_of_manifests_run_as_they_are() -> None:
    async with mesh(QUICKSTART) as running:
        await running.send(event("1"))

        assert [each.id for each in await running.attempts("default/everything")] == ["1"]


async def test_what_is_not_there_is_told() -> None:
    async with mesh(MANIFEST) as running:
        with pytest.raises(UnknownTrigger, match="did you mean 'default/orders'"):
            await running.attempts("default/order")
        with pytest.raises(UnknownBroker, match="the mesh has no broker default/other"):
            await running.send(event("1"), broker="default/other")
    with pytest.raises(InvalidManifest):
        async with mesh("kind: Broker"):
            raise AssertionError("it runs")


REPLIES = """
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: asked
  annotations: {cemesh.dev/delivery-policy: answers}
spec:
  broker: default
  filters: [{exact: {type: question}}]
  subscriber: {uri: http://oracle.example.com/}
---
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {name: answers}
spec:
  reply: REPLY
"""


async def test_replies_that_leave_the_mesh_are_recorded() -> None:
    replies = REPLIES.replace("REPLY", "{uri: http://answers.example.com/}")
    async with mesh(MANIFEST + replies) as running:
        running.react("default/asked", event("answer", "answer"))
        await running.send(event("1", "question"))

        assert [each.id for each in await running.replies("default/asked")] == ["answer"]
        assert [each.id for each in await running.attempts("default/all")] == ["1"]
        await running.settled()
        assert (await running.books("default/all")).matched == 1


async def test_replies_to_another_broker_are_events_there() -> None:
    second = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: second}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: answered}
spec: {broker: second, subscriber: {uri: http://audit.example.com/}}
"""
    ref = "{ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: second}}"
    async with mesh(MANIFEST + REPLIES.replace("REPLY", ref) + second) as running:
        running.react("default/asked", event("answer", "answer"))
        await running.send(event("1", "question"))

        assert [each.id for each in await running.attempts("default/answered")] == ["answer"]


def test_a_destination_of_replies_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(
        MANIFEST
        + REPLIES.replace(
            "REPLY", "{ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: gone}}"
        )
    )
    with pytest.raises(InvalidManifest) as refused:
        load([tmp_path])

    [problem] = refused.value.problems
    assert (problem.subject, problem.path) == ("DeliveryPolicy default/answers", "spec.reply.ref")
