"""Replies come in again, and circles end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.codecs.json import decode_event
from broker.event import MAX_HOPS
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import DELIVERY_POLICY, broker, event, manifest, trigger, trigger_to_broker
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Answer, Request, Subscriber, reply

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


def replying(type: str) -> Callable[[Request], Answer]:
    """Answer with an event of that type, and of an id of its own."""
    count = 0

    def answer(_: Request) -> Answer:
        nonlocal count
        count += 1
        headers = {
            "ce-specversion": "1.0",
            "ce-id": f"reply-{count}",
            "ce-source": "/replier",
            "ce-type": type,
            "Content-Type": "text/plain",
        }
        return reply(200, headers, b"round \xff")

    return answer


async def test_a_reply_is_an_event_that_other_triggers_get(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        asked = subscriber.answers("/asked", replying("answer"))
        text = manifest(
            broker(),
            trigger("asked", asked, type="question"),
            trigger("audit", subscriber.url("/audit"), type="answer"),
        )
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("1", type="question")) == 202
            [answer] = await subscriber.received_at("/audit", 1)

            assert answer.header("ce-source") == "/replier"
            assert answer.header("Content-Type") == "text/plain"
            assert answer.body == b"round \xff"
            assert not [name for name, _ in answer.headers if "ttl" in name or "hop" in name]
            status = await mesh.until(
                lambda status: told_of(status, "default/audit").delivered == 1
            )
            assert told_of(status, "default/asked").delivered == 1
            assert status.brokers[0].accepted == 2


async def test_replies_go_to_the_sink_that_a_policy_names_for_them(
    running_mesh: Meshes, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    sinks = "sinks.cemesh.dev/v1alpha1"
    policy = f"""
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {{name: answers}}
spec:
  reply: {{ref: {{apiVersion: {sinks}, kind: FileSink, name: answers}}}}
---
apiVersion: {sinks}
kind: FileSink
metadata: {{name: answers}}
spec: {{path: {answers}}}
"""
    async with Subscriber() as subscriber:
        asked = subscriber.answers("/asked", replying("answer"))
        text = manifest(broker(), with_policy(trigger("asked", asked), "answers"), policy)
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("1", type="question")) == 202
            status = await mesh.until(
                lambda status: told_of(status, "default/asked").delivered == 1
            )
            assert status.brokers[0].accepted == 1

    [line] = answers.read_bytes().splitlines()
    assert decode_event(line).id == "reply-1"


def with_policy(document: str, policy: str) -> str:
    found = json.loads(document)
    found["metadata"].setdefault("annotations", {})[DELIVERY_POLICY] = policy
    return json.dumps(found)


@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
async def test_a_circle_of_replies_ends_in_a_dead_letter(
    running_mesh: Meshes, restart: bool
) -> None:
    async with Subscriber() as subscriber:
        circle = subscriber.answers("/circle", replying("question"))
        text = manifest(broker(), trigger("circle", circle, type="question"))
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("1", type="question")) == 202
            if restart:  # the hops are in the file, too
                await subscriber.received_at("/circle", 20)
                assert await mesh.terminate() == 0
                await mesh.start()
            status = await mesh.until(
                lambda status: told_of(status, "default/circle").dead_lettered == 1
            )

            books = told_of(status, "default/circle")
            assert (books.matched, books.delivered) == (MAX_HOPS + 1, MAX_HOPS)
            assert (books.waiting, books.unaccounted) == (0, 0)
            assert len(subscriber.received) == MAX_HOPS + 1
            [letter] = await dead_letters(mesh, BROKER, 1)
            assert letter.why.reason == "hops exhausted after 255 replies"
            assert letter.event.id == f"reply-{MAX_HOPS}"


async def test_a_broker_is_a_subscriber_of_another_and_what_it_gets_is_as_it_was(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        text = manifest(
            broker("first"),
            broker("second"),
            trigger_to_broker("bridge", broker="first", to="second"),
            trigger("end", subscriber.url("/end"), broker="second"),
        )
        async with running_mesh(text) as mesh:
            sent = event("1", data=b'{ "n" : 1.0 }')
            assert await mesh.send("default/first", sent) == 202
            [request] = await subscriber.received_at("/end", 1)

            assert request.header("ce-id") == "1"
            assert request.header("ce-source") == "/tests"
            assert request.body == b'{ "n" : 1.0 }'
            await mesh.until(
                lambda status: all(
                    told_of(status, f"default/{name}").delivered == 1 for name in ("bridge", "end")
                )
            )


async def test_a_circle_of_brokers_ends_in_a_dead_letter(running_mesh: Meshes) -> None:
    text = manifest(
        broker("first"),
        broker("second"),
        trigger_to_broker("there", broker="first", to="second"),
        trigger_to_broker("back", broker="second", to="first"),
    )
    async with running_mesh(text) as mesh:
        assert await mesh.send("default/first", event("1")) == 202
        status = await mesh.until(
            lambda status: any(
                each.dead_lettered for running in status.brokers for each in running.triggers
            )
        )
        both = [told_of(status, "default/there"), told_of(status, "default/back")]
        assert sum(each.delivered for each in both) == MAX_HOPS
        assert [each.unaccounted for each in both] == [0, 0]
