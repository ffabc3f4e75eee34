"""Why was my event not delivered? The story of each is told, over kills and by every process."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.services.mesh import CEMESH, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Answer, Request, Subscriber, reply

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


async def cemesh(mesh: RunningMesh, *arguments: str, code: int = 0) -> str:
    """Run a command against the mesh, and return what it prints, without times."""

    def run() -> subprocess.CompletedProcess[str]:
        port = ("--admin-port", str(mesh.admin_port))
        command: Sequence[str | Path] = (CEMESH, *arguments, *port)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == code, ended
    return re.sub(r"\d\d:\d\d:\d\d(\.\d{3})?|[\d,]+ ms|20\d\d-\d\d-\d\d", "…", ended.stdout)


async def ask(mesh: RunningMesh, path: str) -> Any:  # noqa: ANN401 - what JSON gives
    answer = await mesh.request("GET", f"/api/v1/{path}", port=mesh.admin_port)
    assert answer.status == 200, answer
    return json.loads(answer.body)


async def outcomes(mesh: RunningMesh, id: str) -> Mapping[str, str | None]:
    [story] = (await ask(mesh, f"story?id={id}"))["stories"]
    return {each["name"]: each["outcome"] for each in story["triggers"]}


async def test_a_story_tells_all_that_became_of_an_event_over_a_kill_and_a_redrive(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        fine = subscriber.url("/fine")
        broken = subscriber.answers("/broken", [reply(503, body=b'{"error": "out of paper"}')])
        text = manifest(
            broker(),
            trigger("archive", fine),
            trigger("printer", broken, retry=1),
            trigger("other", fine, type="other"),
        )
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("1042")) == 202
            await mesh.until(lambda status: told_of(status, "default/printer").dead_lettered == 1)
            await mesh.until(lambda status: told_of(status, "default/archive").delivered == 1)
            expected = {
                "default/archive": "delivered",
                "default/printer": "dead-lettered",
                "default/other": None,
            }
            assert await outcomes(mesh, "1042") == expected

            assert await cemesh(mesh, "event", "1042") == (
                "com.example.thing  source=/tests  id=1042\n"
                "…  accepted by default/default, sent by 127.0.0.1\n"
                "\n"
                "default/archive  delivered, after 1 attempt\n"
                f"    …  attempt 1  {fine}  200 OK  …\n"
                "\n"
                "default/printer  dead-lettered, after 2 attempts\n"
                f"    …  attempt 1  {broken}  503 Service Unavailable  …\n"
                '        {"error": "out of paper"}\n'
                "    …  waits until …\n"
                f"    …  attempt 2  {broken}  503 Service Unavailable  …\n"
                '        {"error": "out of paper"}\n'
                "    …  given up, and kept as a dead letter of the broker: "
                "503 Service Unavailable\n"
                "\n"
                "default/other  does not match\n"
                '    filters[0].exact type: "other" ≠ "com.example.thing"\n'
            )

            await dead_letters(mesh, BROKER, 1)  # it is stored, and not begun again by the next
            await mesh.kill9()
            await mesh.start()
            assert await outcomes(mesh, "1042") == expected

            subscriber.answers("/broken", [200])
            await cemesh(mesh, "deadletters", "redrive", "--all")
            await subscriber.received_at("/broken", 3)
            await mesh.until(lambda status: told_of(status, "default/printer").delivered == 1)

            assert (await outcomes(mesh, "1042"))["default/printer"] == "delivered"
            told = await cemesh(mesh, "event", "1042")
            assert "…  accepted by default/default, redriven to default/printer\n" in told
            assert "default/printer  delivered, after 1 attempt\n" in told


def replying(_: Request) -> Answer:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "answer",
        "ce-source": "/replier",
        "ce-type": "answer",
    }
    return reply(200, headers)


async def test_a_reply_and_what_it_is_to_name_each_other(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        asked = subscriber.answers("/asked", replying)
        text = manifest(
            broker(),
            trigger("asked", asked, type="question"),
            trigger("audit", subscriber.url("/audit"), type="answer"),
        )
        async with running_mesh(text) as mesh:
            assert await mesh.send(BROKER, event("question", type="question")) == 202
            await subscriber.received_at("/audit", 1)
            await mesh.until(lambda status: told_of(status, "default/audit").delivered == 1)

            question = await cemesh(mesh, "event", "question")
            assert "replied with id=answer source=/replier\n" in question
            answer = await cemesh(mesh, "event", "answer")
            assert (
                "accepted by default/default, a reply of what default/asked delivers to\n"
                "a reply to id=question source=/tests\n"
            ) in answer


async def test_events_are_listed_by_what_became_of_them(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/broken", [400])
        text = manifest(
            broker(),
            trigger("archive", subscriber.url("/fine")),
            trigger("printer", broken, type="paper"),
        )
        async with running_mesh(text) as mesh:
            assert await cemesh(mesh, "events") == "No events.\n"
            assert await mesh.send(BROKER, event("1")) == 202
            assert await mesh.send(BROKER, event("2", type="paper")) == 202
            await mesh.until(
                lambda status: (
                    told_of(status, "default/printer").dead_lettered == 1
                    and told_of(status, "default/archive").delivered == 2
                )
            )

            listed = await cemesh(mesh, "events", "--outcome", "dead-lettered", "--since", "1h")
            head, line = listed.splitlines()
            assert head.split() == ["LAST", "NEWS", "EVENT", "ID", "TYPE", "SOURCE", "OUTCOME"]
            assert "default/archive delivered, default/printer dead-lettered" in line
            every = json.loads(await cemesh(mesh, "events", "--output", "json"))
            assert {each["id"] for each in every["events"]} == {"1", "2"}
            assert "nothing is noted" in await refused(mesh, "event", "3")


async def refused(mesh: RunningMesh, *arguments: str) -> str:
    """Return what a command says that is refused."""

    def run() -> subprocess.CompletedProcess[str]:
        port = ("--admin-port", str(mesh.admin_port))
        command: Sequence[str | Path] = (CEMESH, *arguments, *port)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 1, ended
    return ended.stderr


async def test_stories_can_be_switched_off(running_mesh: Meshes) -> None:
    async with running_mesh(manifest(broker()), arguments=("--stories-size", "0")) as mesh:
        assert await mesh.send(BROKER, event("1")) == 202

        assert "no stories are kept here" in await refused(mesh, "events")
        assert not [each.name for each in mesh.data_dir.iterdir() if "stories" in each.name]


async def test_whatever_process_had_an_event_its_story_is_told(running_mesh: Meshes) -> None:
    ids = {f"event-{number}" for number in range(60)}
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("all", subscriber.url("/all")))
        async with running_mesh(text, arguments=("--workers", "3")) as mesh:
            # Over as many connections, which the processes take in turn.
            answers = await asyncio.gather(*(mesh.send(BROKER, event(each)) for each in ids))
            assert set(answers) == {202}
            await subscriber.received_at("/all", 60)
            await mesh.until(lambda status: told_of(status, "default/all").delivered == 60)

            listed: list[str] = []
            before = ""
            while True:
                page = await ask(mesh, f"stories?limit=7{before}")
                listed += [each["id"] for each in page["events"]]
                if page["next"] is None:
                    break
                before = f"&before={page['next']}"

            assert sorted(listed) == sorted(ids)
            for each in ("event-0", "event-1", "event-2", "event-3"):
                assert await outcomes(mesh, each) == {"default/all": "delivered"}
            files = [each.name for each in mesh.data_dir.glob("stories-*.db")]
            assert sorted(files) == ["stories-0.db", "stories-1.db", "stories-2.db"]


async def test_of_parts_that_run_apart_each_tells_what_it_knows(
    tmp_path: Path, channel: str
) -> None:
    environment = {"CEMESH_CHANNEL": channel}
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("all", subscriber.url("/all")))
        async with (
            RunningMesh(
                tmp_path / "dispatcher", text, part="dispatcher", environment=environment
            ) as dispatcher,
            RunningMesh(
                tmp_path / "ingress", text, part="ingress", environment=environment
            ) as ingress,
        ):
            assert await ingress.send(BROKER, event("1")) == 202
            await dispatcher.until(lambda status: told_of(status, "default/all").delivered == 1)

            of_ingress = await cemesh(ingress, "event", "1")
            assert "sent by 127.0.0.1" in of_ingress
            assert "attempt 1" not in of_ingress
            of_dispatcher = await cemesh(dispatcher, "event", "1")
            assert "It came in by another process" in of_dispatcher
            assert "attempt 1" in of_dispatcher
            also = f"127.0.0.1:{dispatcher.admin_port}"
            assert await cemesh(ingress, "event", "1", "--also", also) == (
                "com.example.thing  source=/tests  id=1\n"
                "…  accepted by default/default, sent by 127.0.0.1\n"
                "\n"
                "default/all  delivered, after 1 attempt\n"
                f"    …  attempt 1  {subscriber.url('/all')}  200 OK  …\n"
            )
            assert not list((tmp_path / "ingress").glob("**/stories-*"))
