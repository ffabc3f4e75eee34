"""WebhookSinks in a real mesh: a chat gets its messages, and the operator's rules hold."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest
from tests.e2e.test_sinks import SINKS, trigger_to
from tests.services.mesh import RunningMesh, trigger
from tests.services.subscribers import Subscriber


def sink(name: str, url: object) -> str:
    spec = {"url": url, "preset": "slack", "text": "{type} {id}"}
    document = {"apiVersion": SINKS, "kind": "WebhookSink", "metadata": {"name": name}}
    return json.dumps({**document, "spec": spec})


def secret(url: str) -> str:
    metadata = {"name": "chat"}
    data = {"url": url}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
    )


def never_again(described: str) -> str:
    """Return that trigger with a delivery that is tried once."""
    document = json.loads(described)
    document["spec"]["delivery"] = {"retry": 0}
    return json.dumps(document)


async def test_a_chat_gets_its_messages_and_no_request_leads_where_none_may(
    running_mesh: Callable[..., RunningMesh],
) -> None:
    async with Subscriber() as subscriber:
        subscriber.answers("/hook", [503, 200])
        text = manifest(
            broker(),
            secret(subscriber.url("/hook")),
            sink("chat", {"secretKeyRef": {"name": "chat", "key": "url"}}),
            trigger_to("WebhookSink", "chat"),
            sink("inside", "http://10.0.0.1/hook"),
            never_again(trigger_to("WebhookSink", "inside")),
        )
        async with running_mesh(text) as mesh:
            assert await mesh.send("default/default", event("event-1")) == 202
            (dead,) = await dead_letters(mesh, "default/default", 1)
            await mesh.until(lambda status: trigger(status, "default/chat").delivered == 1)
        requests = subscriber.received

    bodies = [json.loads(each.body) for each in requests]
    assert bodies == [{"text": "com.example.thing event-1"}] * 2
    assert dead.trigger == "default/inside"
    assert "--allow-destination" in dead.why.reason
