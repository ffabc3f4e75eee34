"""A whole mesh in one process, on RabbitMQ: crashes, alarms, and what an operator sees of it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.subscribers import Request, Subscriber, reply

BROKER = "default/default"
EVENTS, PRINTS = 200, 5

SOON = 60.0
"""Seconds within which whatever is to happen must have happened."""

pytestmark = pytest.mark.timeout(180)


def mesh_on(url: str, folder: Path, text: str) -> RunningMesh:
    return RunningMesh(folder / "mesh", text, environment={"CEMESH_CHANNEL": url})


async def cemesh(mesh: RunningMesh, *arguments: str) -> str:
    """Run a command against the mesh and return what it prints."""

    def run() -> subprocess.CompletedProcess[str]:
        command: Sequence[str | Path] = [CEMESH, *arguments, "--admin-port", str(mesh.admin_port)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 0, ended
    return ended.stdout


async def test_what_was_accepted_before_a_crash_is_delivered_after_it_and_dead_letters_are_kept(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [reply(500, body=b"out of paper")])
        triggers = [
            trigger("archive", subscriber.url("/archive")),
            trigger("printer", broken, retry=1, type="print"),
        ]
        async with mesh_on(rabbitmq, tmp_path, manifest(broker(), *triggers)) as mesh:
            events = [event(f"event-{n}") for n in range(EVENTS)]
            prints = [event(f"print-{n}", type="print") for n in range(PRINTS)]
            sent = await mesh.send_all(BROKER, prints + events[: EVENTS // 2])
            await subscriber.received_at("/archive", EVENTS // 4, within=SOON)
            await mesh.kill9()
            await mesh.start()
            sent += await mesh.send_all(BROKER, events[EVENTS // 2 :])

            assert set(sent) == {202}
            await mesh.until(
                lambda status: all(
                    (each.matched, each.waiting, each.unaccounted) == (expected, 0, 0)
                    for each, expected in (
                        (told_of(status, "default/archive"), EVENTS + PRINTS),
                        (told_of(status, "default/printer"), PRINTS),
                    )
                ),
                within=SOON,
            )
            assert ids(requests(subscriber, "/archive")) == {each.id for each in events + prints}
            assert len(await dead_letters(mesh, BROKER, PRINTS)) == PRINTS

            told = await cemesh(mesh, "status")
            assert f"default/default  amqp  {EVENTS + PRINTS} accepted" in told
            before = len(requests(subscriber, "/broken"))
            subscriber.answers("/broken", [200])
            redriven = await cemesh(mesh, "deadletters", "redrive", "--all")
            assert redriven == f"{PRINTS} redriven, 0 kept\n"
            again = await subscriber.received_at("/broken", before + PRINTS, within=SOON)
            assert ids(again[before:]) == {each.id for each in prints}
            assert await cemesh(mesh, "deadletters", "list") == "No dead letters.\n"
        assert "Traceback" not in mesh.output()


async def test_a_mesh_that_is_stopped_goes_on_where_it_was_and_repeats_nothing(
    rabbitmq: str, tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("archive", subscriber.url("/archive")))
        async with mesh_on(rabbitmq, tmp_path, text) as mesh:
            assert await mesh.send_all(BROKER, [event(f"a-{n}") for n in range(20)]) == [202] * 20
            await subscriber.received_at("/archive", 20, within=SOON)
            assert await mesh.terminate() == 0

            await mesh.start()
            assert await mesh.send_all(BROKER, [event(f"b-{n}") for n in range(20)]) == [202] * 20
            await subscriber.received_at("/archive", 40, within=SOON)
            status = await mesh.until(
                lambda status: told_of(status, "default/archive").delivered == 40
            )

    assert told_of(status, "default/archive").unaccounted == 0
    assert len(subscriber.received) == 40


async def test_a_trigger_that_leaves_the_files_leaves_no_queue(
    rabbitmq: str, rabbitmq_management: Management, tmp_path: Path
) -> None:
    vhost = unquote(urlsplit(rabbitmq).path[1:])

    def queues() -> set[str]:
        found = rabbitmq_management.get(list[dict[str, object]], "queues", vhost)
        return {str(each["name"]) for each in found if str(each["name"]).startswith("t.")}

    async with Subscriber() as subscriber:
        one, other = (trigger(name, subscriber.url(f"/{name}")) for name in ("one", "other"))
        async with mesh_on(rabbitmq, tmp_path, manifest(broker(), one, other)) as mesh:
            assert queues() == {"t.default.default:one", "t.default.default:other"}
            await mesh.send_all(BROKER, [event("1")])
            await subscriber.received_at("/one", 1, within=SOON)

            mesh.manifest.write_text(manifest(broker(), other))
            async with asyncio.timeout(SOON):
                while queues() != {"t.default.default:other"}:
                    await asyncio.sleep(0.1)
            await mesh.send_all(BROKER, [event("2")])
            mesh.manifest.write_text(manifest(broker(), one, other))

            got = await subscriber.received_at("/one", 2, within=SOON)
    assert [each.header("ce-id") for each in got] == ["1", "2"]


async def test_an_alarm_of_the_server_is_answered_429_and_ends(
    rabbitmq_server: RabbitMQServer, tmp_path: Path
) -> None:
    await asyncio.to_thread(rabbitmq_server.start)
    try:
        async with Subscriber() as subscriber:
            text = manifest(broker(), trigger("archive", subscriber.url("/archive")))
            async with mesh_on(rabbitmq_server.listeners.url(), tmp_path, text) as mesh:
                with rabbitmq_server.disk_alarm():
                    async with asyncio.timeout(SOON):
                        while await mesh.send(BROKER, event("refused")) != 429:
                            await asyncio.sleep(0.1)
                    ready = await mesh.request("GET", "/readyz", port=mesh.admin_port)
                    assert ready.status == 503
                    assert b"low on disk" in ready.body

                async with asyncio.timeout(SOON):
                    while await mesh.send(BROKER, event("taken")) != 202:
                        await asyncio.sleep(0.1)
                async with asyncio.timeout(SOON):
                    while "taken" not in ids(requests(subscriber, "/archive")):
                        await asyncio.sleep(0.1)
    finally:
        await asyncio.to_thread(rabbitmq_server.stop)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("amqp://client.test:wrong@{address}/%2F", "client.test"),
        ("amqp://client.test:mesh-secret@{address}/nowhere", "nowhere"),
    ],
)
async def test_what_is_wrong_with_the_url_of_the_channel_is_said_in_words(
    rabbitmq: str, tmp_path: Path, wrong: str, told: str
) -> None:
    parts = urlsplit(rabbitmq)
    url = wrong.format(address=f"{parts.hostname}:{parts.port}")
    text = manifest(broker(), trigger("archive", "http://127.0.0.1:9/"))
    mesh = mesh_on(url, tmp_path, text)

    starting = asyncio.create_task(mesh.start())
    try:
        async with asyncio.timeout(SOON):
            while told not in mesh.output() and not starting.done():
                await asyncio.sleep(0.02)
    finally:
        starting.cancel()
        await asyncio.wait({starting})
        await mesh.kill9()

    assert starting.cancelled() or isinstance(starting.exception(), RuntimeError)
    assert told in mesh.output()
    assert f"{parts.hostname}:{parts.port}" in mesh.output()
    assert "wrong" not in mesh.output()
    assert "Traceback" not in mesh.output()


def requests(subscriber: Subscriber, path: str) -> Sequence[Request]:
    return [each for each in subscriber.received if each.path == path]


def ids(requests: Sequence[Request]) -> set[str | None]:
    return {each.header("ce-id") for each in requests}
