"""Other versions of cemesh on the same data: nothing is lost by an upgrade, nor by a rollback.

An earlier version is the data directory that one has left, recorded in ``recorded/``. A later one
is what the formats promise of it (`broker.channels.embedded.formats`): tables and columns that this
version knows nothing of.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.channels.embedded.formats import VERSION
from broker.channels.embedded.schema import APPLICATION_ID
from tests.e2e.deadletters import dead_letters
from tests.e2e.manifests import broker, event, manifest, trigger
from tests.e2e.test_scale_out import (
    Sender,
    Taking,
    all_accepted,
    all_running,
    all_taken,
    begins_to_deliver,
)
from tests.services.mesh import RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber

BROKER = "default/default"
RECORDED = Path(__file__).with_name("recorded")

pytestmark = pytest.mark.timeout(120)


def manifest_of_the_recorded(subscriber: Subscriber) -> str:
    """Return what was recorded, with subscribers that take everything."""
    return manifest(
        broker(),
        broker("other"),
        *(
            trigger(name, subscriber.url(f"/{name}"), type=name, ordered=name == "keyed")
            for name in ("done", "waiting", "dead", "held", "keyed")
        ),
        trigger("others", subscriber.url("/others"), broker="other"),
    )


def taken(subscriber: Subscriber, path: str) -> list[str | None]:
    """Return the ids of what came to the path, in its order."""
    return [each.header("ce-id") for each in subscriber.received if each.path == path]


def numbered(name: str, count: int = 3) -> list[str]:
    return [f"{name}-{number}" for number in range(1, count + 1)]


def file_of(mesh: RunningMesh) -> Path:
    return mesh.data_dir / "cemesh.db"


def put(mesh: RunningMesh, recorded: str) -> None:
    """Lay a recorded data file where the mesh has its own."""
    mesh.data_dir.mkdir()
    with closing(sqlite3.connect(file_of(mesh))) as file:
        file.executescript((RECORDED / f"{recorded}.sql").read_text())
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {recorded.rpartition('-')[2]}")
        file.execute("PRAGMA journal_mode = WAL")


def run_in(mesh: RunningMesh, script: str) -> None:
    """Change the data file as another version would, while no mesh has it."""
    with closing(sqlite3.connect(file_of(mesh))) as file:
        file.executescript(script)


def content(mesh: RunningMesh) -> list[str]:
    """Return all that is in the data file."""
    with closing(sqlite3.connect(f"{file_of(mesh).as_uri()}?mode=ro", uri=True)) as file:
        return [*file.iterdump(), str(file.execute("PRAGMA user_version").fetchone())]


def format_of(mesh: RunningMesh) -> int:
    with closing(sqlite3.connect(f"{file_of(mesh).as_uri()}?mode=ro", uri=True)) as file:
        (found,) = file.execute("PRAGMA user_version").fetchone()
    assert isinstance(found, int)
    return found


async def asked(mesh: RunningMesh, path: str, body: bytes = b"{}") -> None:
    """Ask the admin API to do something."""
    headers = {"Content-Type": "application/json"}
    answer = await mesh.request(
        "POST", f"/api/v1/{path}", headers=headers, body=body, port=mesh.admin_port
    )
    assert answer.status == 200, answer


async def delivered(mesh: RunningMesh, counts: dict[str, int]) -> None:
    """Return once each trigger has had so many events, and nothing is unaccounted for."""
    status = await mesh.until(
        lambda status: all(
            told_of(status, f"default/{name}").delivered == count for name, count in counts.items()
        )
    )
    assert not any(each.unaccounted for found in status.brokers for each in found.triggers)


# --- an earlier version --------------------------------------------------------------------


async def test_what_a_mesh_of_the_fourth_format_left_is_all_gone_on_with(tmp_path: Path) -> None:
    async with Subscriber() as subscriber:
        mesh = RunningMesh(tmp_path, manifest_of_the_recorded(subscriber))
        put(mesh, "format-4")
        async with mesh:
            await delivered(mesh, {"done": 2, "waiting": 3, "keyed": 3, "others": 1, "held": 0})
            assert sorted(filter(None, taken(subscriber, "/waiting"))) == numbered("waiting")
            assert taken(subscriber, "/keyed") == numbered("keyed")
            assert taken(subscriber, "/others") == ["other-1"]
            bodies = {each.header("ce-id"): each.body for each in subscriber.received}
            assert bodies["waiting-1"] == b'{ "name" : "waiting-1" }'

            held = told_of(await mesh.status(), "default/held")
            assert (held.state, held.why) == ("paused", "a change of the warehouse")
            letters = await dead_letters(mesh, BROKER, 2)
            assert [each.event.id for each in letters] == numbered("dead", 2)

            await asked(mesh, "triggers/default/held/resume")
            await asked(mesh, f"brokers/{BROKER}/deadletters/redrive", b'{"all": true}')
            assert await mesh.send(BROKER, event("new", type="done")) == 202
            await delivered(mesh, {"held": 3, "dead": 2, "done": 3})
            assert sorted(filter(None, taken(subscriber, "/held"))) == numbered("held")
            assert sorted(filter(None, taken(subscriber, "/dead"))) == numbered("dead", 2)
            assert taken(subscriber, "/done") == ["new"], "nothing that was done is done again"
        assert format_of(mesh) == VERSION


async def test_killed_as_it_brings_the_data_up_to_date_it_does_so_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with Subscriber() as subscriber:
        mesh = RunningMesh(tmp_path, manifest_of_the_recorded(subscriber))
        put(mesh, "format-4")
        starting = asyncio.create_task(mesh.start())
        async with asyncio.timeout(30):
            while not file_of(mesh).with_suffix(".db-wal").exists():
                await asyncio.sleep(0.001)
        starting.cancel()
        await mesh.kill9()

        async with mesh:
            await delivered(mesh, {"done": 2, "waiting": 3, "keyed": 3, "others": 1})
            await dead_letters(mesh, BROKER, 2)


# --- a later version -----------------------------------------------------------------------

LATER = """
ALTER TABLE log_1 ADD COLUMN tenant TEXT;
ALTER TABLE dead_letter ADD COLUMN tenant TEXT;
CREATE TABLE tenant (name TEXT NOT NULL) STRICT;
UPDATE log_1 SET tenant = 'north';
"""


def later(*, oldest: int) -> str:
    """Return what the next version would do; from ``oldest`` on, formats can go on with it."""
    return f"{LATER} PRAGMA user_version = {(oldest << 16) + VERSION + 1};"


async def test_after_a_rollback_everything_goes_on(tmp_path: Path) -> None:
    async with Subscriber() as subscriber:
        url = subscriber.answers("/orders", [503] * 3 + [200])
        one = trigger("orders", url, type="order", backoff="PT0.3S")
        held = trigger("held", subscriber.url("/held"), type="held")
        gone = trigger("gone", subscriber.answers("/gone", [400, 200]), type="gone", retry=0)
        text = manifest(broker(), one, held, gone)
        async with RunningMesh(tmp_path, text) as mesh:
            await asked(mesh, "triggers/default/held/pause", b'{"why": "a test"}')
            for name in ("order", "held", "gone"):
                assert await mesh.send(BROKER, event(f"{name}-1", type=name)) == 202
            await dead_letters(mesh, BROKER, 1)
            await subscriber.received_at("/orders", 1)
            await mesh.kill9()
            run_in(mesh, later(oldest=VERSION))

            await mesh.start()
            assert await mesh.send(BROKER, event("order-2", type="order")) == 202
            await delivered(mesh, {"orders": 2})
            assert told_of(await mesh.status(), "default/held").state == "paused"
            await asked(mesh, "triggers/default/held/resume")
            await asked(mesh, f"brokers/{BROKER}/deadletters/redrive", b'{"all": true}')
            await delivered(mesh, {"held": 1, "gone": 1})
        assert format_of(mesh) == VERSION
        assert any("'north'" in each for each in content(mesh)), "what it stored is kept"


@pytest.mark.parametrize("oldest", [0, VERSION + 1])
async def test_what_cannot_be_gone_on_with_is_refused_and_left_as_it_is(
    tmp_path: Path, oldest: int
) -> None:
    mesh = RunningMesh(tmp_path, manifest(broker()))
    async with mesh:
        assert await mesh.send(BROKER, event("1")) == 202
    run_in(mesh, later(oldest=oldest))
    before = content(mesh)

    with pytest.raises(RuntimeError, match="ended with 3"):
        await mesh.start()

    assert f"has format {VERSION + 1}, of a later version of cemesh" in mesh.output()
    assert content(mesh) == before


# --- side by side --------------------------------------------------------------------------


@pytest.mark.timeout(300)
async def test_parts_that_are_replaced_one_by_one_lose_nothing_and_keep_the_order(
    channel: str, tmp_path: Path
) -> None:
    healthy = Taking()
    ordered = Taking(lambda number, attempt: number % 7 == 0 and attempt == 1)
    async with Subscriber() as subscriber:
        text = manifest(
            broker(),
            trigger("healthy", subscriber.answers("/healthy", healthy)),
            trigger("ordered", subscriber.answers("/ordered", ordered), ordered=True),
        )

        def part(kind: str, name: str) -> RunningMesh:
            folder = tmp_path / f"{name}-{kind}"
            return RunningMesh(folder, text, part=kind, environment={"CEMESH_CHANNEL": channel})

        old_dispatcher, new_dispatcher = (part("dispatcher", name) for name in ("old", "new"))
        old_ingress, new_ingress = (part("ingress", name) for name in ("old", "new"))
        senders = [Sender(f"sender-{number}", [old_ingress, new_ingress]) for number in range(3)]
        stop = asyncio.Event()
        async with all_running([old_ingress, old_dispatcher]) as stack:
            async with asyncio.TaskGroup() as sending:
                for sender in senders:
                    sending.create_task(sender.run(stop))
                await begins_to_deliver(old_dispatcher)

                await stack.enter_async_context(new_dispatcher)
                assert await old_dispatcher.terminate() == 0
                await begins_to_deliver(new_dispatcher)

                await stack.enter_async_context(new_ingress)
                assert await old_ingress.terminate() == 0
                accepted = len(all_accepted(senders))
                async with asyncio.timeout(30):
                    while len(all_accepted(senders)) < accepted + 20:
                        await asyncio.sleep(0.05)
                stop.set()
            for taker in (healthy, ordered):
                await all_taken(taker, all_accepted(senders))

        assert set(healthy.taken) == set(ordered.taken) == all_accepted(senders)
        assert ordered.out_of_turn == []
