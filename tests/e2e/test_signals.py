"""How the process ends, and how it does not begin."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import CEMESH, HOST, RunningMesh, free_port
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Request, Subscriber, after, hang

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


def ids(requests: Sequence[Request]) -> list[str | None]:
    return [request.header("ce-id") for request in requests]


async def said(mesh: RunningMesh, text: str, *, within: float = 30.0) -> None:
    """Return once the mesh has printed the text."""
    async with asyncio.timeout(within):
        while text not in mesh.output():
            await asyncio.sleep(0.02)


async def takes_no_events(mesh: RunningMesh, *, within: float = 30.0) -> None:
    """Return once the data port is closed and the mesh says that it is not ready."""
    async with asyncio.timeout(within):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, mesh.port)
                writer.close()
            except ConnectionRefusedError:
                ready = await mesh.request("GET", "/readyz", port=mesh.admin_port)
                assert ready.status == 503
                assert b"stopping" in ready.body
                return
            except ConnectionResetError:
                pass  # it was about to be accepted when the listener closed
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_attempts_finish_and_the_rest_is_found_at_the_next_start(
    running_mesh: Meshes, number: signal.Signals
) -> None:
    gate = asyncio.Event()
    async with Subscriber() as subscriber:
        slow = subscriber.answers("/slow", [after(gate, 200), 200])
        text = manifest(broker(), trigger("orders", slow, parallelism=1))
        async with running_mesh(text) as mesh:
            for each in ("under-way", "waiting", "waiting-too"):
                assert await mesh.send(BROKER, event(each)) == 202
            await subscriber.received_at("/slow", 1)

            os.kill(mesh.pid, number)
            await takes_no_events(mesh)
            gate.set()
            assert await mesh.ended() == 0
            assert ids(subscriber.received) == ["under-way"]

            await mesh.start()
            status = await mesh.until(
                lambda status: told_of(status, "default/orders").delivered == 3
            )
            assert ids(subscriber.received) == ["under-way", "waiting", "waiting-too"]
            assert told_of(status, "default/orders").unaccounted == 0


async def test_attempts_that_take_too_long_are_broken_off_and_repeated_after_the_restart(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        slow = subscriber.answers("/slow", [hang(), 200])
        text = manifest(broker(), trigger("orders", slow))
        async with running_mesh(text, arguments=("--drain-timeout", "300ms")) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            await subscriber.received_at("/slow", 1)

            os.kill(mesh.pid, signal.SIGTERM)
            assert await mesh.ended() == 0
            assert "attempts broken off  trigger=default/orders count=1" in mesh.output()

            await mesh.start()
            status = await mesh.until(
                lambda status: told_of(status, "default/orders").delivered == 1
            )
            assert ids(subscriber.received) == ["1", "1"]
            assert told_of(status, "default/orders").unaccounted == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_breaks_off_whatever_is_under_way(
    running_mesh: Meshes, first: signal.Signals, second: signal.Signals
) -> None:
    async with Subscriber() as subscriber:
        slow = subscriber.answers("/slow", [hang(), 200])
        replaced = subscriber.answers("/replaced", [hang(), 200])
        before = manifest(broker(), trigger("orders", slow), trigger("audit", replaced))
        now = manifest(broker(), trigger("orders", slow), trigger("audit", replaced, retry=1))
        # Longer than this test may take.
        async with running_mesh(before, arguments=("--drain-timeout", "10m")) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            await subscriber.received_at("/slow", 1)
            await subscriber.received_at("/replaced", 1)
            # One attempt is under way in a run that was replaced, and a client dawdles.
            mesh.manifest.write_text(now)
            await said(mesh, "change taken up")
            _, writer = await asyncio.open_connection(HOST, mesh.port)
            writer.write(b"POST /default/default HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            await writer.drain()

            os.kill(mesh.pid, first)
            await takes_no_events(mesh)
            os.kill(mesh.pid, second)
            assert await mesh.ended() == 0
            writer.close()

            await mesh.start()
            await mesh.until(
                lambda status: all(
                    told_of(status, f"default/{name}").delivered == 1
                    for name in ("orders", "audit")
                )
            )
            assert "Traceback" not in mesh.output()


async def test_what_is_answered_202_while_the_mesh_stops_is_delivered_after_the_restart(
    running_mesh: Meshes,
) -> None:
    events = [event(f"event-{number}") for number in range(2_000)]
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("orders", subscriber.url("/orders")))
        async with running_mesh(text) as mesh:
            sending = asyncio.create_task(mesh.send_all(BROKER, events))
            await subscriber.received_at("/orders", 100)
            os.kill(mesh.pid, signal.SIGTERM)
            assert await mesh.ended() == 0
            statuses = await sending
            assert set(statuses) == {202, None}, "some were to be accepted, and some not"

            await mesh.start()
            status = await mesh.until(lambda status: told_of(status, "default/orders").waiting == 0)
            accepted = {
                each.id for each, answer in zip(events, statuses, strict=True) if answer == 202
            }
            received = ids(subscriber.received)
            assert accepted <= set(received)
            assert len(received) == len(set(received)), "one was delivered twice"
            assert told_of(status, "default/orders").delivered == status.brokers[0].accepted
            assert "Traceback" not in mesh.output()


# --- how it does not begin -----------------------------------------------------------------


def cemesh_run(folder: Path, *, port: int, data_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run a mesh that is to end by itself."""
    return subprocess.run(
        [
            *(CEMESH, "run", folder, "--data-dir", data_dir),
            *("--host", HOST, "--port", str(port)),
            *("--admin-host", HOST, "--admin-port", str(free_port())),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


async def test_a_data_directory_in_use_is_refused_with_the_name_of_who_uses_it(
    running_mesh: Meshes,
) -> None:
    async with running_mesh(manifest(broker())) as mesh:
        ended = await asyncio.to_thread(
            cemesh_run, mesh.manifest.parent, port=free_port(), data_dir=mesh.data_dir
        )
        assert ended.returncode == 3, ended
        assert ended.stderr.startswith("cemesh cannot start: the data directory ")
        assert f"in use by process {mesh.pid} (cemesh, since " in ended.stderr
        assert "Traceback" not in ended.stderr

        await mesh.kill9()
        await mesh.start()  # the lock went with the process


async def test_a_port_in_use_is_refused(running_mesh: Meshes, tmp_path: Path) -> None:
    async with running_mesh(manifest(broker())) as mesh:
        ended = await asyncio.to_thread(
            cemesh_run, mesh.manifest.parent, port=mesh.port, data_dir=tmp_path / "other"
        )
    assert ended.returncode == 3, ended
    assert f"cannot listen on {HOST}:{mesh.port}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_bad_manifest_is_refused_with_every_problem_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    file = folder / "mesh.yaml"
    wrong = trigger("orders", "http://127.0.0.1:1/", broker="defualt")
    file.write_text(manifest(broker(), wrong.replace('"retry"', '"retri"')))
    data_dir = tmp_path / "data"

    ended = await asyncio.to_thread(cemesh_run, folder, port=free_port(), data_dir=data_dir)

    assert ended.returncode == 1, ended
    assert f"{file}:3: Trigger default/orders: spec.delivery" in ended.stderr
    assert "did you mean 'retry'?" in ended.stderr
    assert "did you mean 'default'?" in ended.stderr
    assert not data_dir.exists()
