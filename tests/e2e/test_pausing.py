"""Triggers that pause, by themselves and by hand, on every channel, and lose nothing by it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.manifests import DELIVERY_POLICY, event, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber, reply

BROKER, TRIGGER = "default/default", "default/orders"
EVENTS = 50

SOON = 60.0
"""Seconds: what a crashed process held is taken over 15 s after it was last heard of."""

pytestmark = pytest.mark.timeout(240)


def document(version: str, kind: str, name: str, **fields: object) -> str:
    return json.dumps(
        {"apiVersion": version, "kind": kind, **fields} | {"metadata": {"name": name}}
    )


POLICY = document(
    "cemesh.dev/v1alpha1",
    "DeliveryPolicy",
    "quick",
    spec={"breaker": {"failures": 3, "pause": "PT0.5S", "maxPause": "PT1S"}},
)
BROKER_OF_IT = json.dumps(
    {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default", "annotations": {DELIVERY_POLICY: "quick"}},
    }
)


@pytest.fixture(params=["embedded", "kafka", "rabbitmq"])
def environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Return what chooses the channel."""
    if request.param == "embedded":
        return {}
    address: str = request.getfixturevalue(request.param)
    if request.param == "kafka":
        name = f"pausing-{uuid.uuid4()}"
        config = {
            "default.topic.partitions": "3",
            "default.topic.replication.factor": "1",
            "brokers.topic.template": f"{name}-{{{{ .Name }}}}",
            "triggers.consumergroup.template": f"{name}-{{{{ .Name }}}}",
        }
        address = f"kafka://{address}?{urlencode(config)}"
    return {"CEMESH_CHANNEL": address}


async def ask(mesh: RunningMesh, verb: str) -> None:
    body = b'{"why": "the test asks"}' if verb == "pause" else b""
    path = f"/api/v1/triggers/{TRIGGER}/{verb}"
    answer = await mesh.request("POST", path, body=body, port=mesh.admin_port)
    assert answer.status == 200, answer


async def test_what_waits_for_a_paused_trigger_is_delivered_when_it_goes_on(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        mended = False
        subscriber.answers_as_told("/orders", lambda _: reply(200 if mended else 503))
        orders = trigger("orders", subscriber.url("/orders"), retry=100)
        other = trigger("other", subscriber.url("/other"))
        text = manifest(BROKER_OF_IT, POLICY, orders, other)
        async with RunningMesh(tmp_path / "mesh", text, environment=environment) as mesh:
            first = [event(f"first-{number}") for number in range(EVENTS)]
            assert set(await mesh.send_all(BROKER, first)) == {202}
            await mesh.until(lambda status: told_of(status, TRIGGER).state == "paused")
            mended = True
            await mesh.until(lambda _: "trigger recovering" in mesh.output(), within=SOON)
            await mesh.until(
                lambda status: told_of(status, TRIGGER).delivered == EVENTS, within=SOON
            )

            await ask(mesh, "pause")
            second = [event(f"second-{number}") for number in range(EVENTS)]
            assert set(await mesh.send_all(BROKER, second)) == {202}
            await subscriber.received_at("/other", 2 * EVENTS, within=SOON)
            await mesh.kill9()
            await mesh.start()
            paused = await mesh.until(  # and some of the first, whose settling was not stored
                lambda status: told_of(status, TRIGGER).waiting >= EVENTS, within=SOON
            )
            assert told_of(paused, TRIGGER).state == "paused"
            assert told_of(paused, TRIGGER).why == "the test asks"
            assert not any(each.startswith("second") for each in taken(subscriber))

            await ask(mesh, "resume")
            done = await mesh.until(  # on RabbitMQ, what waits is known some time later
                lambda status: (
                    (told_of(status, TRIGGER).delivered, told_of(status, TRIGGER).waiting)
                    == (2 * EVENTS, 0)
                ),
                within=SOON,
            )

    assert taken(subscriber) == {each.id for each in first + second}
    assert told_of(done, TRIGGER).dead_lettered == 0
    assert "Traceback" not in mesh.output()


def taken(subscriber: Subscriber) -> set[str]:
    return {each.header("ce-id") or "" for each in subscriber.received if each.path == "/orders"}
