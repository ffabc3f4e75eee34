"""A whole mesh in one process, on Kafka: crashes, stops, and what an operator sees of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Request, Subscriber, reply

BROKER = "default/default"
EVENTS, PRINTS = 200, 5

SOON = 60.0
"""Seconds: what a crashed process held is taken over 15 s after it was last heard of."""

pytestmark = pytest.mark.timeout(180)

Meshes = Callable[..., RunningMesh]


def on(address: str, name: str) -> tuple[str, str]:
    """Return arguments for a mesh whose topics and groups begin with ``name``."""
    config = {
        "default.topic.partitions": "3",
        "default.topic.replication.factor": "1",
        "brokers.topic.template": f"{name}-{{{{ .Name }}}}",
        "triggers.consumergroup.template": f"{name}-{{{{ .Name }}}}",
    }
    return ("--channel", f"kafka://{address}?{urlencode(config)}")


async def cemesh(mesh: RunningMesh, *arguments: str) -> str:
    """Run a command against the mesh and return what it prints."""

    def run() -> subprocess.CompletedProcess[str]:
        command: Sequence[str | Path] = [CEMESH, *arguments, "--admin-port", str(mesh.admin_port)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 0, ended
    return ended.stdout


async def test_what_was_accepted_before_a_crash_is_delivered_after_it_and_dead_letters_are_kept(
    running_mesh: Meshes, kafka: str
) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [reply(500, body=b"out of paper")])
        triggers = [
            trigger("archive", subscriber.url("/archive")),
            trigger("printer", broken, retry=1, type="print"),
        ]
        text = manifest(broker(), *triggers)
        async with running_mesh(text, arguments=on(kafka, f"e2e-{uuid.uuid4()}")) as mesh:
            events = [event(f"event-{n}") for n in range(EVENTS)]
            prints = [event(f"print-{n}", type="print") for n in range(PRINTS)]
            sent = await mesh.send_all(BROKER, prints + events[: EVENTS // 2])
            await subscriber.received_at("/archive", EVENTS // 4, within=SOON)
            await mesh.kill9()
            await mesh.start()
            sent += await mesh.send_all(BROKER, events[EVENTS // 2 :])

            assert set(sent) == {202}
            status = await mesh.until(
                lambda status: (
                    told_of(status, "default/archive").delivered == EVENTS + PRINTS
                    and told_of(status, "default/printer").dead_lettered >= PRINTS
                    and told_of(status, "default/printer").waiting == 0
                ),
                within=SOON,
            )
            for name in ("archive", "printer"):
                assert told_of(status, f"default/{name}").waiting == 0
                assert told_of(status, f"default/{name}").unaccounted == 0
            assert ids(requests(subscriber, "/archive")) == {each.id for each in events + prints}
            await dead_letters(mesh, BROKER, PRINTS)

            told = await cemesh(mesh, "status")
            assert f"default/default  kafka  {EVENTS + PRINTS} accepted" in told
            assert "default/printer" in told
            listed = json.loads(await cemesh(mesh, "deadletters", "list", "--output", "json"))
            letters = listed["deadLetters"]
            assert {each["event"]["id"] for each in letters} == {each.id for each in prints}

            before = len(requests(subscriber, "/broken"))
            subscriber.answers("/broken", [200])
            redriven = await cemesh(mesh, "deadletters", "redrive", "--all")
            assert redriven == f"{len(letters)} redriven, 0 kept\n"
            again = await subscriber.received_at("/broken", before + len(letters), within=SOON)
            assert ids(again[before:]) == {each.id for each in prints}
            assert await cemesh(mesh, "deadletters", "list") == "No dead letters.\n"


async def test_a_mesh_that_is_stopped_has_left_its_group_and_goes_on_at_once_where_it_was(
    running_mesh: Meshes, kafka: str
) -> None:
    name = f"e2e-{uuid.uuid4()}"
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("archive", subscriber.url("/archive")))
        async with running_mesh(text, arguments=on(kafka, name)) as mesh:
            assert await mesh.send_all(BROKER, [event(f"a-{n}") for n in range(20)]) == [202] * 20
            await subscriber.received_at("/archive", 20, within=SOON)

            assert await mesh.terminate() == 0
            assert await members(kafka, f"{name}-default") == 0
            assert "partitions given up" in mesh.output()

            await mesh.start()
            assert await mesh.send_all(BROKER, [event(f"b-{n}") for n in range(20)]) == [202] * 20
            await subscriber.received_at("/archive", 40, within=SOON)
            status = await mesh.until(
                lambda status: told_of(status, "default/archive").delivered == 40
            )

    assert told_of(status, "default/archive").unaccounted == 0
    assert len(subscriber.received) == 40


def requests(subscriber: Subscriber, path: str) -> Sequence[Request]:
    return [each for each in subscriber.received if each.path == path]


def ids(requests: Sequence[Request]) -> set[str | None]:
    return {each.header("ce-id") for each in requests}


async def members(address: str, group: str) -> int:
    """Return how many processes Kafka counts among a group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    [(_, _, _, _, _, found, *_)] = answer.groups
    return len(found)
