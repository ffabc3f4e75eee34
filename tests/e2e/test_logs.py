"""What the real mesh logs: from which level on, in all of its processes, and who changed what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from broker.admin.models import StatusDocument
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import RunningMesh
from tests.services.subscribers import Subscriber, reply

BROKER = "default/default"
LOG = "/api/v1/log"
IDS = ("asked", "answer")


def lines_of(text: str) -> list[dict[str, object]]:
    """Return the lines that are JSON, without one that is being written."""
    whole, _, _ = text.rpartition("\n")
    return [json.loads(each) for each in whole.splitlines() if each.startswith("{")]


def told(mesh: RunningMesh, message: str) -> list[dict[str, object]]:
    """Return the lines of the log (JSON) with that message."""
    return [each for each in lines_of(mesh.output()) if each["message"] == message]


def audited(file: Path) -> list[dict[str, object]]:
    return lines_of(file.read_text()) if file.exists() else []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def pids(status: StatusDocument) -> Sequence[int]:
    """Return the process ids of the workers beside the first process, that of one that starts 0."""
    return [each.pid or 0 for each in status.workers if each.number]


async def set_level(mesh: RunningMesh, level: str) -> None:
    body = json.dumps({"level": level}).encode()
    answer = await mesh.request("PUT", LOG, body=body, port=mesh.admin_port)
    assert (answer.status, json.loads(answer.body)) == (200, {"level": level})


async def send_each(mesh: RunningMesh, count: int, prefix: str) -> None:
    """Send so many events, each over a connection of its own, so that every process gets some."""
    for number in range(count):
        assert await mesh.send(BROKER, event(f"{prefix}-{number}")) == 202


async def test_the_level_changes_in_all_processes_also_in_one_that_is_started_again(
    tmp_path: Path,
) -> None:
    arguments = ("--workers", "2", "--log-format", "json")
    async with Subscriber() as subscriber:
        triggers = manifest(broker(), trigger("all", subscriber.url("/all")))
        async with RunningMesh(tmp_path / "mesh", triggers, arguments=arguments) as mesh:
            await send_each(mesh, 4, "quiet")
            await subscriber.received_at("/all", 4)
            assert told(mesh, "attempt") == []

            await set_level(mesh, "debug")
            await send_each(mesh, 8, "heard")
            await until(lambda: {each.get("worker") for each in told(mesh, "attempt")} == {None, 1})

            (pid,) = pids(await mesh.status())
            os.kill(pid, signal.SIGKILL)
            await mesh.until(lambda status: pids(status) not in ([pid], [0]))
            before = len(told(mesh, "attempt"))
            await send_each(mesh, 8, "again")
            await until(
                lambda: 1 in [each.get("worker") for each in told(mesh, "attempt")[before:]]
            )

            await set_level(mesh, "warning")
            before = len(told(mesh, "attempt"))
            await send_each(mesh, 8, "still")
            await subscriber.received_at("/all", 28)
            assert len(told(mesh, "attempt")) == before


async def test_each_stage_of_an_event_is_a_line_where_its_level_is_debug(tmp_path: Path) -> None:
    arguments = ("--log-level", "debug", "--log-format", "json")
    replied = {"ce-specversion": "1.0", "ce-id": "answer", "ce-source": "/replies", "ce-type": "b"}
    async with Subscriber() as subscriber:
        subscriber.answers("/a", [503, reply(200, replied)])
        subscriber.answers("/b", [400])
        triggers = manifest(
            broker(),
            trigger("asks", subscriber.url("/a"), type="a"),
            trigger("refuses", subscriber.url("/b"), type="b"),
        )
        async with RunningMesh(tmp_path / "mesh", triggers, arguments=arguments) as mesh:
            assert await mesh.send(BROKER, event("asked", type="a")) == 202
            await until(lambda: bool(told(mesh, "dead-lettered")))

    lines = lines_of(mesh.output())
    asked, answer = ([each for each in lines if each.get("event_id") == name] for name in IDS)
    # Whether it is claimed before its client has an answer, or after, is nobody's to say.
    asked.sort(key=lambda each: each["message"] != "accepted")
    answer.sort(key=lambda each: each["message"] != "accepted")
    assert [each["message"] for each in asked] == [
        *("accepted", "claimed", "attempt", "put off"),
        *("claimed", "reply taken", "attempt", "delivered"),
    ]
    assert [each["message"] for each in answer] == [
        *("accepted", "claimed", "attempt", "dead-lettered"),
    ]
    accepted, _, _, put_off, _, taken, _, _ = asked
    assert (accepted["broker"], accepted["origin"], accepted["by"]) == (
        BROKER,
        "request",
        "127.0.0.1",
    )
    assert put_off["attempts"] == 1
    assert "until" in put_off
    assert (taken["reply_id"], taken["to"]) == ("answer", BROKER)
    assert answer[0]["reply_to"] == "asked"
    for each in (*asked[1:], *answer[1:]):
        assert each["trigger"] in ("default/asks", "default/refuses")
        assert each["source"] in ("/tests", "/replies")


async def test_the_audit_log_survives_restarts_and_says_what_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    arguments = ("--log-level", "error", "--audit-log", str(file))
    one = trigger("one", "http://127.0.0.1:9/")
    mesh = RunningMesh(tmp_path / "mesh", manifest(broker(), one), arguments=arguments)
    async with mesh:
        await until(lambda: len(audited(file)) == 1)  # which is ready a moment before
        path = "/api/v1/triggers/default/one/pause"
        await mesh.request("POST", path, body=b'{"why": "it moves"}', port=mesh.admin_port)
        mesh.manifest.write_text(manifest(broker(), one, trigger("two", "http://127.0.0.1:9/")))
        await until(lambda: len(audited(file)) == 3)
        await mesh.kill9()
        await mesh.start()
        await until(lambda: len(audited(file)) == 4)

    first, pause, added, second = audited(file)
    objects = ["Broker default/default", "Trigger default/one"]
    assert (first["action"], first["objects"]) == ("start", objects)
    assert (pause["action"], pause["why"], pause["peer"]) == ("pause", "it moves", "127.0.0.1")
    assert (added["action"], added["added"]) == ("manifests", ["Trigger default/two"])
    assert second["objects"] == [*objects, "Trigger default/two"]
    assert "audit      pause" in mesh.output()


async def test_a_mesh_whose_audit_log_cannot_be_written_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "audit.jsonl"
    mesh = RunningMesh(tmp_path / "mesh", manifest(broker()), arguments=("--audit-log", str(file)))
    with pytest.raises(RuntimeError, match="cemesh ended with 3"):
        await mesh.start()

    assert f"cannot write the audit log {file}: No such file or directory" in mesh.output()
