"""``cemesh explain --delivery``: of manifests, and of a running mesh."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from click.testing import CliRunner, Result

from broker.cli.root import cli
from broker.policy import Batch, Breaker, Credentials, Limits, OAuth2, Rate, Signing, Timeouts
from broker.trigger import DeliveryPolicy, Target, Trigger
from tests.unit.stand_in import BROKER, StandIn, admin_port, ask, cemesh

MESH = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: b}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: plain}
spec: {broker: b, subscriber: {uri: "http://a/"}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: short, annotations: {cemesh.dev/backoff-jitter: "0"}}
spec:
  broker: b
  subscriber: {uri: "http://a/short"}
  delivery: {retry: 3, backoffPolicy: linear, backoffDelay: PT20M, timeout: PT1.5S}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: long}
spec: {broker: b, subscriber: {uri: "http://a/long"}, delivery: {retry: 1000}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: careful
  annotations:
    kafka.eventing.knative.dev/delivery.order: ordered
    cemesh.dev/delivery-policy: careful
spec: {broker: b, subscriber: {uri: "http://a/careful"}}
---
apiVersion: cemesh.dev/v1alpha1
kind: DeliveryPolicy
metadata: {name: careful}
spec: {order: {whenGivenUp: park}}
"""


def explained(folder: Path, trigger: str, *options: str) -> Result:
    path = folder / "mesh.yaml"
    path.write_text(MESH)
    return CliRunner().invoke(cli, ["explain", "--delivery", trigger, "-m", str(path), *options])


def test_all_waits_of_the_default_are_shown(tmp_path: Path) -> None:
    lines = explained(tmp_path, "default/plain").stdout.splitlines()

    assert lines[:8] == [
        "trigger        default/plain",
        "subscriber     http://a/",
        "attempts       1 and 10 retries, each within 30 s",
        "backoff        exponential",
        "Retry-After    heeded up to 1 h",
        "dead letters   stay in the broker's own store",
        "at a time      100 requests",
        "pauses         after 20 failures in a row, for 5 s up to 5 min",
    ]
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert rows[0] == ["1", "0.4", "s", "0.4", "s"]
    assert rows[9] == ["10", "204.8", "s", "409.2", "s"]
    assert lines[-1] == "Waits are each varied by up to 10%."


def test_the_waits_are_those_of_the_trigger_and_end_at_the_cap(tmp_path: Path) -> None:
    document = json.loads(explained(tmp_path, "default/short", "--output", "json").stdout)

    assert document["waits"] == [
        {"retry": 1, "wait": 600.0, "total": 600.0},
        {"retry": 2, "wait": 600.0, "total": 1200.0},
        {"retry": 3, "wait": 600.0, "total": 1800.0},
    ]
    assert (document["timeout"], document["jitter"], document["retries"]) == (1.5, 0, 3)


def test_of_very_many_retries_the_first_hundred_are_shown(tmp_path: Path) -> None:
    lines = explained(tmp_path, "default/long").stdout.splitlines()

    assert len([line for line in lines if line.strip()[:1].isdigit()]) == 100
    assert lines[-1] == "Waits are each varied by up to 10%; 900 more retries follow."


def test_an_order_is_shown_and_what_becomes_of_events_that_would_break_it(tmp_path: Path) -> None:
    lines = explained(tmp_path, "default/careful").stdout.splitlines()

    shown = "one after the other for each partitionkey; one that is given up is parked"
    assert f"order          {shown}" in lines


def test_a_trigger_that_is_not_there_is_refused_with_a_hint(tmp_path: Path) -> None:
    result = explained(tmp_path, "default/plane")

    assert result.exit_code == 1
    assert "did you mean 'default/plain'" in result.stderr


def test_an_event_and_a_delivery_are_not_explained_at_once(tmp_path: Path) -> None:
    assert explained(tmp_path, "default/plain", "--id", "1").exit_code == 2


async def test_a_running_mesh_tells_everything_but_secrets() -> None:
    mesh = await StandIn.start()
    policy = DeliveryPolicy(
        limits=Limits(
            rate=Rate(per_second=5, burst=9), bytes_in_flight=7, max_age=timedelta(days=2)
        ),
        breaker=Breaker(failures=3),
        timeouts=Timeouts(connect=timedelta(seconds=2), first_byte=timedelta(seconds=7)),
        signing=Signing(keys=("whsec_sesame", "whsec_sesame too")),
        credentials=Credentials(
            headers={"X-Key": "sesame"},
            oauth2=OAuth2(token_url="http://t/", client_id="sesame", client_secret="sesame"),
        ),
        batch=Batch(max_events=4),
        dead_letter=Target(url="http://dead/"),
    )
    mesh.running = [
        Trigger(
            key="default/audit", broker=BROKER, subscriber=Target(url="http://a/"), delivery=policy
        )
    ]
    async with admin_port(mesh) as port:
        ran = await cemesh("explain", "--delivery", "default/audit", "--admin-port", str(port))
        answer = await ask(port, "GET", "/api/v1/triggers/default/audit/delivery")
        missing = await ask(port, "GET", "/api/v1/triggers/default/other/delivery")

    document = json.loads(answer.body)
    assert document["limits"] == {
        "parallelism": 100,
        "rate": 5,
        "burst": 9,
        "bytesInFlight": 7,
        "maxAge": 172800,
    }
    assert document["timeouts"] == {"connect": 2, "write": None, "firstByte": 7, "body": None}
    assert "of these       2 s to connect, 7 s to the first byte" in ran.out
    assert document["credentials"] == ["header X-Key", "oauth2"]
    assert document["signingKeys"] == 2
    assert document["deadLetterSink"] == "http://dead/"
    assert b"sesame" not in answer.body
    assert "gives up       events older than 2 d" in ran.out
    assert "shows          header X-Key, oauth2" in ran.out
    assert "sesame" not in ran.out
    assert missing.status == 404
