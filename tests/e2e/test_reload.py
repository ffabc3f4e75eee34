"""The files change while the mesh runs: good changes are taken up, bad ones change nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Self

import pytest

from tests.e2e.manifests import broker, event, manifest, steady, trigger
from tests.e2e.telling import tell
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Answer, Request, Subscriber, after

BROKER = "default/default"

Meshes = Callable[..., RunningMesh]

pytestmark = pytest.mark.timeout(120)


def ids(requests: Sequence[Request]) -> list[str | None]:
    return [request.header("ce-id") for request in requests]


class Producer:
    """Sends events, one after the other, while it is entered; all have to be accepted."""

    def __init__(self, mesh: RunningMesh) -> None:
        self.sent: list[str] = []
        self._mesh = mesh
        self._enough = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._enough = True
        await self._task

    async def _run(self) -> None:
        while not self._enough:
            each = event(f"event-{len(self.sent)}")
            assert await self._mesh.send(BROKER, each) == 202
            self.sent.append(each.id)


async def test_a_new_subscriber_takes_over_under_load_and_no_event_is_lost(
    running_mesh: Meshes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Subscriber() as subscriber:
        old, new = subscriber.url("/old"), subscriber.url("/new")
        async with running_mesh(manifest(broker(), trigger("orders", old))) as mesh:
            async with Producer(mesh) as producer:
                await subscriber.received_at("/old", 50)
                written = time.monotonic()
                mesh.manifest.write_text(manifest(broker(), trigger("orders", new)))
                await subscriber.received_at("/new", 1)
                seconds = time.monotonic() - written
                await subscriber.received_at("/new", 100)
            sent = len(producer.sent)
            status = await mesh.until(
                lambda status: told_of(status, "default/orders").delivered == sent
            )

    assert set(ids(subscriber.received)) == set(producer.sent)
    assert len(subscriber.received) == sent, "one was delivered twice"
    assert told_of(status, "default/orders").unaccounted == 0
    tell(capsys, f"a change of the files was taken up after {seconds:.2f} s under load")


@pytest.mark.parametrize("answer", [200, 503])
async def test_an_attempt_at_the_old_subscriber_neither_delays_the_new_one_nor_is_dropped(
    running_mesh: Meshes, answer: Answer
) -> None:
    gate = asyncio.Event()
    async with Subscriber() as subscriber:
        old = subscriber.answers("/old", [after(gate, answer)])
        new = subscriber.url("/new")
        async with running_mesh(manifest(broker(), trigger("orders", old, parallelism=1))) as mesh:
            assert await mesh.send(BROKER, event("hangs")) == 202
            assert await mesh.send(BROKER, event("waits")) == 202
            await subscriber.received_at("/old", 1)

            mesh.manifest.write_text(manifest(broker(), trigger("orders", new, parallelism=1)))
            assert ids(await subscriber.received_at("/new", 1)) == ["waits"]
            gate.set()
            status = await mesh.until(
                lambda status: told_of(status, "default/orders").delivered == 2
            )

            # Where the old subscriber refused it, it is the new one that gets the next attempt.
            at_new = ["waits"] if answer == 200 else ["waits", "hangs"]
            assert ids(await subscriber.received_at("/new", len(at_new))) == at_new
            assert ids(await subscriber.received_at("/old", 1)) == ["hangs"]
            assert told_of(status, "default/orders").unaccounted == 0


async def test_a_bad_change_leaves_the_mesh_as_it_was_and_is_told_until_it_is_mended(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        good = manifest(broker(), trigger("orders", subscriber.url("/orders")))
        mended = manifest(broker(), trigger("audit", subscriber.url("/audit")))
        async with running_mesh(good) as mesh:
            # Also the part of it that is right is not taken up.
            mesh.manifest.write_text(mended.replace('"uri"', '"ur1"'))
            status = await mesh.until(lambda status: bool(status.problems))
            assert await mesh.send(BROKER, event("1")) == 202
            await subscriber.received_at("/orders", 1)

            assert [each.name for each in status.brokers[0].triggers] == ["default/orders"]
            assert "uri" in status.problems[0].message
            assert status.problems[0].file == str(mesh.manifest)
            assert status.problems[0].line == 3
            assert "change refused" in mesh.output()
            assert f"{mesh.manifest}:3: Trigger default/audit" in mesh.output()

            mesh.manifest.write_text(mended)
            await mesh.until(
                lambda status: (
                    not status.problems
                    and [each.name for each in status.brokers[0].triggers] == ["default/audit"]
                )
            )
            assert await mesh.send(BROKER, event("2")) == 202
            assert ids(await subscriber.received_at("/audit", 1)) == ["2"]


async def test_files_that_are_gone_leave_the_mesh_as_it_was(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        text = manifest(broker(), trigger("orders", subscriber.url("/orders")))
        async with running_mesh(text) as mesh:
            mesh.manifest.unlink()
            await mesh.until(lambda status: bool(status.problems))
            assert await mesh.send(BROKER, event("1")) == 202
            await subscriber.received_at("/orders", 1)

            mesh.manifest.write_text(text)
            await mesh.until(lambda status: not status.problems)


async def test_500_triggers_and_their_brokers_changed_at_once_converge(
    running_mesh: Meshes, capsys: pytest.CaptureFixture[str]
) -> None:
    def state(path: str, brokers: Sequence[str]) -> str:
        names = [(number, brokers[number % len(brokers)]) for number in range(500)]
        return manifest(
            *(broker(name) for name in brokers),
            *(
                trigger(f"t{number}", subscriber.url(path), broker=name, type=f"type-{number}")
                for number, name in names
            ),
        )

    former, latter = ["a", "b", "c", "d"], ["c", "d", "e", "f"]
    async with Subscriber() as subscriber, running_mesh(state("/old", former)) as mesh:
        for number in (0, 1, 2, 3, 499):
            into = f"default/{former[number % 4]}"
            assert await mesh.send(into, event(str(number), type=f"type-{number}")) == 202
        await subscriber.received_at("/old", 5)

        written = time.monotonic()
        mesh.manifest.write_text(state("/new", latter))
        status = await mesh.until(
            lambda status: (
                {each.name for each in status.brokers} == {f"default/{n}" for n in latter}
            )
        )
        seconds = time.monotonic() - written

        for number in (0, 1, 2, 3, 499):
            into = f"default/{latter[number % 4]}"
            assert await mesh.send(into, event(str(number), type=f"type-{number}")) == 202
        assert set(ids(await subscriber.received_at("/new", 5))) == {"0", "1", "2", "3", "499"}
        assert await mesh.send("default/a", event("x", type="type-0")) == 404
        triggers = [each for running in status.brokers for each in running.triggers]
        assert len(triggers) == 500
        assert {each.subscriber for each in triggers} == {subscriber.url("/new")}
        assert len(subscriber.received) == 10
    tell(capsys, f"500 triggers were changed within {seconds:.2f} s")


async def test_what_is_deleted_stops_and_its_broker_is_not_found(running_mesh: Meshes) -> None:
    async with Subscriber() as subscriber:
        failing = subscriber.answers("/deleted", [503])
        other = subscriber.answers("/other", [*[503] * 20, 200])
        backoff = "PT0.01S"
        kept = [
            *(broker("kept"), steady()),
            trigger("kept", other, broker="kept", retry=20, backoff=backoff, pauses=False),
        ]
        gone = [broker(), trigger("gone", failing, retry=1000, backoff=backoff, pauses=False)]
        async with running_mesh(manifest(*kept, *gone)) as mesh:
            for number in range(20):
                assert await mesh.send(BROKER, event(str(number))) == 202
            await subscriber.received_at("/deleted", 60)

            mesh.manifest.write_text(manifest(*kept))
            await mesh.until(lambda status: len(status.brokers) == 1)
            assert await mesh.send(BROKER, event("late")) == 404
            requests = len(await subscriber.received_at("/deleted"))

            # Meanwhile another trigger goes through a backoff that is like the deleted one's.
            assert await mesh.send("default/kept", event("other")) == 202
            await subscriber.received_at("/other", 21)
            # What was under way, at most one attempt an event, was finished.
            assert len(await subscriber.received_at("/deleted")) <= requests + 20
            requests = len(await subscriber.received_at("/deleted"))
            assert await mesh.send("default/kept", event("another")) == 202
            await subscriber.received_at("/other", 22)
            assert len(await subscriber.received_at("/deleted")) == requests


async def test_a_trigger_deleted_and_created_again_gets_what_came_meanwhile(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        orders = trigger("orders", subscriber.url("/orders"), type="order")
        audit = trigger("audit", subscriber.url("/audit"))
        async with running_mesh(manifest(broker(), audit, orders)) as mesh:
            assert await mesh.send(BROKER, event("before", type="order")) == 202
            await subscriber.received_at("/orders", 1)

            mesh.manifest.write_text(manifest(broker(), audit))
            await mesh.until(lambda status: len(status.brokers[0].triggers) == 1)
            assert await mesh.send(BROKER, event("meanwhile", type="order")) == 202
            assert await mesh.send(BROKER, event("not its own")) == 202
            await subscriber.received_at("/audit", 3)

            mesh.manifest.write_text(manifest(broker(), audit, orders))
            assert ids(await subscriber.received_at("/orders", 2)) == ["before", "meanwhile"]
            status = await mesh.until(
                lambda status: (
                    len(status.brokers[0].triggers) == 2
                    and told_of(status, "default/orders").delivered == 2
                )
            )
            assert told_of(status, "default/orders").unaccounted == 0


async def test_a_broker_deleted_and_created_again_delivers_what_it_still_has(
    running_mesh: Meshes,
) -> None:
    async with Subscriber() as subscriber:
        orders = subscriber.answers("/orders", [503, 200])
        mine = [broker(), trigger("orders", orders, backoff="PT4S", retry=3)]
        async with running_mesh(manifest(broker("other"), *mine)) as mesh:
            assert await mesh.send(BROKER, event("1")) == 202
            await mesh.until(
                lambda status: (
                    told_of(status, "default/orders").waiting == 1
                    and told_of(status, "default/orders").in_flight == 0
                    and len(subscriber.received) == 1
                )
            )
            mesh.manifest.write_text(manifest(broker("other")))
            await mesh.until(lambda status: len(status.brokers) == 1)

            mesh.manifest.write_text(manifest(broker("other"), *mine))
            assert ids(await subscriber.received_at("/orders", 2)) == ["1", "1"]
            await mesh.until(
                lambda status: (
                    len(status.brokers) == 2 and told_of(status, "default/orders").delivered == 1
                )
            )
