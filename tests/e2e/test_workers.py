"""One mesh in several processes on the embedded channel: the promises are those of one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from broker.admin.models import (
    CausesDocument,
    EventsPage,
    ManifestsDocument,
    RedrivenDocument,
    StatusDocument,
)
from broker.codecs.http import encode
from broker.event import Event
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, steady, trigger
from tests.services.mesh import CEMESH, HOST, Response, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Answer, Request, Subscriber, after

BROKER = "default/default"
WORKERS = ("--workers", "3")
SOON = 60.0
KEYS = ("a", "b", "c", "d")

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(240)


def ids(requests: Sequence[Request]) -> list[str | None]:
    return [request.header("ce-id") for request in requests]


def workers(status: StatusDocument) -> Mapping[int, int]:
    """Return the process ids of the workers that run, by number, without the first process."""
    return {each.number: each.pid for each in status.workers if each.number and each.pid}


async def post(mesh: RunningMesh, path: str, body: object = None) -> Response:
    data = None if body is None else json.dumps(body).encode()
    return await mesh.request("POST", f"/api/v1/{path}", body=data, port=mesh.admin_port)


async def history(mesh: RunningMesh, limit: int) -> list[str]:
    """Return the ids of all stored events, read page by page."""
    found: list[str] = []
    after = ""
    while True:
        path = f"/api/v1/brokers/{BROKER}/events?limit={limit}{after}"
        answer = await mesh.request("GET", path, port=mesh.admin_port)
        assert answer.status == 200, answer
        page = msgspec.json.decode(answer.body, type=EventsPage)
        found += [str(each.event["id"]) for each in page.events]
        if page.next is None:
            return found
        after = f"&after={page.next}"


class Taking:
    """Takes events, the first attempt at every fifth excepted; notes who came out of turn."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.out_of_turn: list[str] = []
        self._attempts: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer:
        name = request.header("ce-id") or ""
        key, _, number = name.rpartition("/")
        if key in KEYS and int(number) > 1 and f"{key}/{int(number) - 1}" not in self.taken:
            self.out_of_turn.append(name)
        self._attempts[name] += 1
        if int(number) % 5 == 0 and self._attempts[name] == 1:
            return 503
        self.taken[name] += 1
        return 200


class Sender:
    """Sends the events of one key, or of none, each over a connection of its own until it is
    accepted.
    """

    def __init__(self, mesh: RunningMesh, key: str) -> None:
        self.accepted: set[str] = set()
        self._mesh = mesh
        self._key = key

    async def run(self, stop: asyncio.Event) -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            attributes = {
                "specversion": "1.0",
                "id": f"{self._key}/{number}",
                "source": "/tests",
                "type": "com.example.thing",
            }
            if self._key in KEYS:
                attributes["partitionkey"] = self._key
            while not await self._accepts(Event(attributes, b"{}")):
                await asyncio.sleep(0.05)
            self.accepted.add(attributes["id"])

    async def _accepts(self, event: Event) -> bool:
        try:
            return await self._mesh.send(BROKER, event) == 202
        except (OSError, http.client.HTTPException):
            return False


@asynccontextmanager
async def sending(mesh: RunningMesh) -> AsyncIterator[Sequence[Sender]]:
    """Send events of four keys and of none while this lasts."""
    senders = [Sender(mesh, key) for key in (*KEYS, "none-1", "none-2")]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for each in senders:
            group.create_task(each.run(stop))
        yield senders
        stop.set()


def accepted(senders: Sequence[Sender]) -> set[str]:
    return {name for sender in senders for name in sender.accepted}


async def until_taken(taking: Taking, names: set[str]) -> None:
    try:
        async with asyncio.timeout(SOON):
            while not names <= taking.taken.keys():
                await asyncio.sleep(0.02)
    except TimeoutError as late:
        late.add_note(f"not taken: {sorted(names - taking.taken.keys())}")
        raise


async def test_workers_that_are_killed_lose_nothing_and_the_order_of_keys_is_kept(
    running_mesh: Meshes,
) -> None:
    anyhow, ordered = Taking(), Taking()
    async with Subscriber() as subscriber:
        text = manifest(
            broker(),
            steady(),
            trigger("anyhow", subscriber.answers("/anyhow", anyhow), pauses=False),
            trigger("ordered", subscriber.answers("/ordered", ordered), ordered=True, pauses=False),
        )
        async with running_mesh(text, arguments=WORKERS) as mesh:
            async with sending(mesh) as senders:
                for number in (1, 2):
                    so_far = len(anyhow.taken)
                    async with asyncio.timeout(SOON):
                        while len(anyhow.taken) < so_far + 200:
                            await asyncio.sleep(0.02)
                    before = workers(await mesh.status())
                    os.kill(before[number], signal.SIGKILL)
                    await mesh.until(
                        lambda status, number=number, before=before: (  # type: ignore[misc]
                            workers(status).get(number) not in (None, before[number])
                        )
                    )
            for each in (anyhow, ordered):
                await until_taken(each, accepted(senders))
            status = await mesh.until(
                lambda status: not any(each.waiting for each in status.brokers[0].triggers)
            )

        assert set(anyhow.taken) == set(ordered.taken)
        assert ordered.out_of_turn == []
        for name in ("anyhow", "ordered"):
            books = told_of(status, f"default/{name}")
            assert books.matched == status.brokers[0].accepted >= len(accepted(senders)), books
            assert books.unaccounted == 0, books
        assert mesh.output().count("worker started") == 2
        assert "Traceback" not in mesh.output(), mesh.output_end()


async def test_with_fewer_workers_the_rest_of_the_shards_is_still_delivered(
    running_mesh: Meshes, tmp_path: Path
) -> None:
    async with Subscriber() as subscriber:
        refusing = subscriber.answers("/orders", [503])
        text = manifest(
            broker(), steady(), trigger("orders", refusing, backoff="PT1S", pauses=False)
        )
        async with running_mesh(text, arguments=WORKERS) as mesh:
            for number in range(9):
                assert await mesh.send(BROKER, event(f"event-{number}")) == 202
            await mesh.until(lambda status: told_of(status, "default/orders").waiting == 9)
            data = mesh.data_dir
        assert all((data / f"shard-{number}" / "cemesh.db").exists() for number in (1, 2))

        subscriber.answers("/orders", [200])
        one = RunningMesh(tmp_path / "one", text, arguments=("--data-dir", str(data)))
        async with one as mesh:
            status = await mesh.until(
                lambda status: told_of(status, "default/orders").delivered == 9
            )
            assert len(workers(status)) == 2
            for number in range(9, 12):
                assert await mesh.send(BROKER, event(f"event-{number}")) == 202
            await mesh.until(lambda status: told_of(status, "default/orders").delivered == 12)
            assert sorted(await history(mesh, 5)) == sorted(f"event-{n}" for n in range(12))
        assert "2 of them only deliver what is left" in one.output()


async def test_what_operators_see_and_do_covers_all_workers(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        broken = subscriber.answers("/orders", [500])
        text = manifest(broker(), steady(), trigger("orders", broken, retry=0, pauses=False))
        async with running_mesh(text, arguments=WORKERS) as mesh:
            for number in range(6):
                assert await mesh.send(BROKER, event(f"event-{number}")) == 202
                # Each is buried before the next one comes, to another worker.
                await dead_letters(mesh, BROKER, number + 1)
            letters = await dead_letters(mesh, BROKER, 6)
            assert [each.event.id for each in letters] == [f"event-{n}" for n in range(6)]
            assert await history(mesh, 4) == [f"event-{n}" for n in range(6)]

            answer = await mesh.request("GET", "/api/v1/manifests", port=mesh.admin_port)
            declared = msgspec.json.decode(answer.body, type=ManifestsDocument).objects
            assert [each.name for each in declared if each.kind == "Trigger"] == ["default/orders"]
            path = f"/api/v1/brokers/{BROKER}/deadletters/causes"
            answer = await mesh.request("GET", path, port=mesh.admin_port)
            (cause,) = msgspec.json.decode(answer.body, type=CausesDocument).causes
            assert (cause.trigger, cause.status, cause.count) == ("default/orders", 500, 6)

            subscriber.answers("/orders", [200])
            assert (await post(mesh, "triggers/default/orders/pause", {"why": "x"})).status == 200
            for each in letters[:3]:  # one of each worker
                path = f"/api/v1/brokers/{BROKER}/deadletters/{each.id}/redrive"
                headers, body = encode(event(f"edited-{each.event.id}"))
                named = {name.decode(): value.decode() for name, value in headers}
                answer = await mesh.request(
                    "POST", path, headers=named, body=body, port=mesh.admin_port
                )
                redriven = msgspec.json.decode(answer.body, type=RedrivenDocument)
                assert redriven.redriven == [each.id]
            asked = {"all": True}
            answer = await post(mesh, f"brokers/{BROKER}/deadletters/redrive", asked)
            redriven = msgspec.json.decode(answer.body, type=RedrivenDocument)
            assert sorted(redriven.redriven) == sorted(each.id for each in letters[3:])
            status = await mesh.until(lambda status: told_of(status, "default/orders").waiting == 6)
            assert told_of(status, "default/orders").state == "paused"
            assert len(subscriber.received) == 6
            assert (await post(mesh, "triggers/default/orders/resume")).status == 200
            await mesh.until(lambda status: told_of(status, "default/orders").delivered == 6)
            for _ in range(3):
                assert (await mesh.request("POST", f"/{BROKER}", body=b"?")).status == 400

            scrape = await mesh.request("GET", "/metrics", port=mesh.admin_port)
            lines = scrape.body.decode().splitlines()
            assert 'cemesh_accepted_events_total{broker="default/default"} 12.0' in lines
            of = 'trigger="default/orders",to="subscriber",outcome="delivered"'
            assert f"cemesh_attempts_total{{{of}}} 6.0" in lines
            of = f'broker="{BROKER}",status="400",reason="invalid_event"'
            assert f"cemesh_refused_requests_total{{{of}}} 3.0" in lines


async def test_the_live_stream_has_what_comes_to_any_worker(running_mesh: Meshes) -> None:
    async with running_mesh(manifest(broker()), arguments=WORKERS) as mesh:
        command = (CEMESH, "tail", "--output", "json", "--admin-port", str(mesh.admin_port))
        tail = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert tail.stdout is not None
        try:
            async with asyncio.timeout(SOON):
                seen: set[str] = set()
                for number in itertools.count():  # the first ones may come before it follows
                    assert await mesh.send(BROKER, event(f"event-{number}")) == 202
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            while True:
                                seen.add(json.loads(await tail.stdout.readline())["id"])
                    in_a_row = ({f"event-{first + n}" for n in range(3)} for first in range(number))
                    if any(three <= seen for three in in_a_row):
                        break
        finally:
            tail.terminate()
            await tail.communicate()  # which closes its pipes


async def test_a_change_of_the_files_reaches_every_worker(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        first = trigger("first", subscriber.url("/first"))
        async with running_mesh(manifest(broker(), first), arguments=WORKERS) as mesh:
            second = trigger("second", subscriber.url("/second"))
            mesh.manifest.write_text(manifest(broker(), second))
            await mesh.until(
                lambda status: (
                    [each.name for each in status.brokers[0].triggers] == ["default/second"]
                    and "change taken up" in mesh.output()  # by all of them
                )
            )
            for number in range(6):
                assert await mesh.send(BROKER, event(f"event-{number}")) == 202
            await subscriber.received_at("/second", 6)
            await mesh.until(lambda status: told_of(status, "default/second").delivered == 6)
            mesh.manifest.write_text("kind: Nothing")
            status = await mesh.until(lambda status: bool(status.problems))
            assert told_of(status, "default/second").delivered == 6

    assert [each.path for each in subscriber.received] == ["/second"] * 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_of_them_once_what_is_under_way_is_done(
    running_mesh: Meshes, number: signal.Signals
) -> None:
    gate = asyncio.Event()
    async with Subscriber() as subscriber:
        url = subscriber.answers("/slow", [after(gate, 200)])
        async with running_mesh(
            manifest(broker(), trigger("slow", url)), arguments=WORKERS
        ) as mesh:
            pids = workers(await mesh.status())
            for each in range(6):
                assert await mesh.send(BROKER, event(f"event-{each}")) == 202
            await subscriber.received_at("/slow", 6)
            os.kill(mesh.pid, number)
            async with asyncio.timeout(SOON):
                while "stopping" not in mesh.output():
                    await asyncio.sleep(0.02)
            gate.set()
            assert await mesh.ended() == 0
        assert len(subscriber.received) == 6, "an attempt was broken off, and made again"
        assert not any(is_running(pid) for pid in pids.values())
        assert mesh.output().endswith("stopped\n"), mesh.output_end()


async def test_the_workers_of_a_mesh_that_is_killed_make_way_for_those_of_the_next(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("orders", subscriber.url("/orders")))
        async with running_mesh(text, arguments=WORKERS) as mesh:
            before = workers(await mesh.status())
            await mesh.kill9()
            await mesh.start()
            after = workers(await mesh.status())
            for number in range(6):
                assert await mesh.send(BROKER, event(f"event-{number}")) == 202
            await mesh.until(lambda status: told_of(status, "default/orders").delivered == 6)

    assert len(after) == 2
    assert not set(before.values()) & set(after.values())


async def test_a_channel_that_only_one_process_can_have_is_refused_with_several(
    tmp_path: Path,
) -> None:
    (tmp_path / "mesh.yaml").write_text(manifest(broker()))
    process = await asyncio.create_subprocess_exec(
        *(CEMESH, "run", tmp_path / "mesh.yaml", "--channel", "memory:", *WORKERS),
        *("--host", HOST, "--port", "0", "--admin-port", "0"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()

    assert process.returncode == 3
    assert b"Broker default/default: its channel 'memory' is of one process alone" in told
    assert b"run it without --workers" in told


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_connections_that_come_at_a_time_are_shared_out_evenly(
    running_mesh: Meshes,
) -> None:
    count = 90
    async with running_mesh(manifest(broker()), arguments=WORKERS) as mesh:
        first, *others = [each.pid for each in (await mesh.status()).workers if each.pid]
        for pid in (first, *others):
            os.kill(pid, signal.SIGSTOP)
        opened = [await asyncio.open_connection(HOST, mesh.port) for _ in range(count)]
        os.kill(first, signal.SIGCONT)
        async with asyncio.timeout(SOON):
            while established(first, mesh.port) != count // 3:
                await asyncio.sleep(0.05)
            for pid in others:
                os.kill(pid, signal.SIGCONT)
            while [established(pid, mesh.port) for pid in (first, *others)] != [count // 3] * 3:
                await asyncio.sleep(0.05)
        for _, writer in opened:
            writer.close()


def established(pid: int | None, port: int) -> int:
    """Return how many connections to that port the process has open."""
    ours = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01"
    }
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(each.readlink()).removeprefix("socket:[").removesuffix("]") in ours
    return found
