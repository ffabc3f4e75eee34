"""Dead letters are listed, shown and redriven; what waits keeps its attempts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Request, Subscriber, reply

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


async def deadletters(mesh: RunningMesh, *arguments: str, code: int = 0) -> str:
    """Run ``cemesh deadletters`` against the mesh and return what it prints."""

    def run() -> subprocess.CompletedProcess[str]:
        port = ("--admin-port", str(mesh.admin_port))
        command: Sequence[str | Path] = (CEMESH, "deadletters", *arguments, *port)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == code, ended
    return ended.stdout


def ids(requests: Sequence[Request]) -> list[str | None]:
    return [request.header("ce-id") for request in requests]


async def test_dead_letters_are_redriven_to_their_trigger_alone_once_it_is_mended(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [reply(500, body=b"out of paper")])
        fine = subscriber.url("/fine")
        text = manifest(
            broker(), trigger("printer", broken, retry=1), trigger("archive", fine, retry=1)
        )
        async with running_mesh(text) as mesh:
            for number in range(5):
                sent = event(f"event-{number}", data=b'{ "page": %d }' % number)
                assert await mesh.send(BROKER, sent) == 202
            await mesh.until(
                lambda status: (
                    told_of(status, "default/printer").dead_lettered == 5
                    and told_of(status, "default/archive").delivered == 5
                )
            )
            await dead_letters(mesh, BROKER, 5)

            listed = json.loads(await deadletters(mesh, "list", "--output", "json"))["deadLetters"]
            assert {each["event"]["id"] for each in listed} == {f"event-{n}" for n in range(5)}
            assert {each["trigger"] for each in listed} == {"default/printer"}
            shown = await deadletters(mesh, "show", listed[0]["id"])
            assert "out of paper" in shown
            assert f'"{listed[0]["event"]["id"]}"' in shown
            assert "attempts     2" in shown

            subscriber.answers("/broken", [200])
            one = listed[0]["id"]
            assert await deadletters(mesh, "redrive", one) == "1 redriven, 0 kept\n"
            [*_, again] = await subscriber.received_at("/broken", 11)
            assert again.header("ce-id") == listed[0]["event"]["id"]
            assert again.body.startswith(b'{ "page": ')
            assert "0 redriven, 1 kept" in await deadletters(mesh, "redrive", one, code=1)

            out = await deadletters(mesh, "redrive", "--trigger", "default/printer")
            assert out == "4 redriven, 0 kept\n"
            status = await mesh.until(
                lambda status: told_of(status, "default/printer").delivered == 5
            )
            received = await subscriber.received_at("/broken", 15)
            assert sorted(ids(received[10:]), key=str) == [f"event-{n}" for n in range(5)]
            assert len(await subscriber.received_at("/fine", 5)) == 5
            assert await deadletters(mesh, "list") == "No dead letters.\n"
            for name in ("printer", "archive"):
                assert told_of(status, f"default/{name}").unaccounted == 0


async def test_a_redriven_event_that_fails_again_is_buried_again_after_all_its_attempts(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [500])
        text = manifest(broker(), trigger("printer", broken, retry=2))
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            await mesh.until(lambda status: told_of(status, "default/printer").dead_lettered == 1)
            await dead_letters(mesh, BROKER, 1)
            assert "1 redriven" in await deadletters(mesh, "redrive", "--all")
            status = await mesh.until(
                lambda status: told_of(status, "default/printer").dead_lettered == 2
            )
            assert len(subscriber.received) == 6
            assert told_of(status, "default/printer").unaccounted == 0
            assert len(await dead_letters(mesh, BROKER, 1)) == 1


async def test_a_dead_letter_whose_trigger_went_to_another_broker_is_kept(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [500])
        brokers = [broker(), broker("other")]
        text = manifest(*brokers, trigger("printer", broken, retry=0))
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            await mesh.until(lambda status: told_of(status, "default/printer").dead_lettered == 1)
            mesh.manifest.write_text(manifest(*brokers, trigger("printer", broken, broker="other")))
            await mesh.until(
                lambda status: any(
                    each.name == "default/other" and each.triggers for each in status.brokers
                )
            )

            await dead_letters(mesh, BROKER, 1)
            assert "0 redriven, 1 kept" in await deadletters(mesh, "redrive", "--all", code=1)

            assert [each.event.id for each in await dead_letters(mesh, BROKER, 1)] == ["1"]


@pytest.mark.parametrize("crash", [False, True], ids=["SIGTERM", "kill -9"])
async def test_backoff_goes_on_over_a_restart_with_the_attempts_that_were_made(
    running_mesh: Meshes, crash: bool
) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [503])
        orders = trigger("orders", broken, type="order", retry=3, backoff="PT1S")
        async with running_mesh(manifest(broker(), orders)) as mesh:
            assert await mesh.send(BROKER, event("1", type="order")) == 202
            # The wait that follows, of 2 s, is the one that the restart falls into.
            await subscriber.received_at("/broken", 2)
            await mesh.until(lambda status: told_of(status, "default/orders").in_flight == 0)
            if crash:
                await committed(mesh)
                await mesh.kill9()
            else:
                os.kill(mesh.pid, signal.SIGTERM)
                assert await mesh.ended() == 0

            await mesh.start()
            status = await mesh.until(
                lambda status: told_of(status, "default/orders").dead_lettered == 1
            )
            assert len(subscriber.received) == 4
            assert told_of(status, "default/orders").unaccounted == 0
            [letter] = await dead_letters(mesh, BROKER, 1)
            assert letter.why.attempts == 4


async def committed(mesh: RunningMesh) -> None:
    """Return once what happened so far is in the file: an append is stored with all of it."""
    assert await mesh.send(BROKER, event("later", type="of-no-interest")) == 202
