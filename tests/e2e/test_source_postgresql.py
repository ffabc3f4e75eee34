"""A PostgresqlSource in a real mesh: killed amid its rows, it loses none and keeps their ids."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
import pytest
import yaml

from tests.e2e.manifests import broker, manifest, steady, trigger
from tests.services.mesh import RunningMesh
from tests.services.postgresql.fixtures import Database
from tests.services.postgresql.server import ADMIN, PASSWORD
from tests.services.subscribers import Request, Subscriber

ROWS = 1_500
DOCS = Path(__file__).parents[2] / "docs"
SOURCE = (DOCS / "sources" / "PostgresqlSource.md").read_text()
SINK = (DOCS / "sinks" / "PostgresqlSink.md").read_text()

pytestmark = pytest.mark.timeout(90)


def block(page: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def of_page(page: str, database: Database) -> str:
    """Return the page's manifest, for the test's server and its broker."""
    documents = []
    for each in yaml.safe_load_all(block(page, "yaml")):
        if "url" in each["spec"]:
            each["spec"]["url"] = database.place.url(database.name)
        if each["kind"] == "Trigger":
            each["spec"]["broker"] = "default"
        documents.append(json.dumps(each))
    return manifest(*documents)


def secret(database: Database) -> str:
    values = {"user": ADMIN, "password": PASSWORD, "ca.crt": database.place.authority}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "shop-db"},
            "stringData": values,
        }
    )


async def insert(database: Database) -> None:
    """Insert all rows, some in each transaction, for a second or two."""
    statement = "INSERT INTO outbox (id, type, data) VALUES ($1, 'order', to_jsonb($2::int))"
    connection = await asyncpg.connect(database.place.admin(database.name))
    try:
        for start in range(0, ROWS, 10):
            some = range(start, start + 10)
            await connection.executemany(statement, [(str(each), each) for each in some])
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def count(database: Database, table: str) -> int:
    return int(await database.connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608 - ours


def numbers(requests: Sequence[Request]) -> set[int]:
    return {int(each.body) for each in requests}


async def test_killed_amid_the_rows_the_mesh_emits_all_of_them_and_leaves_none(
    running_mesh: Callable[..., RunningMesh], postgresql: Database
) -> None:
    await postgresql.connection.execute(block(SOURCE, "sql").replace("TO mesh", f"TO {ADMIN}"))
    async with Subscriber() as subscriber:
        to = trigger("orders", subscriber.url("/"), pauses=False, ordered=True, parallelism=1)
        text = manifest(broker(), steady(), secret(postgresql), of_page(SOURCE, postgresql), to)
        async with running_mesh(text) as mesh:
            inserting = asyncio.create_task(insert(postgresql))
            await subscriber.received_at("/", 200, within=30)
            await mesh.kill9()
            before = numbers(subscriber.received)
            await mesh.start()
            await inserting
            async with asyncio.timeout(40):
                while len(numbers(subscriber.received)) < ROWS:
                    await asyncio.sleep(0.1)
                while await count(postgresql, "outbox"):
                    await asyncio.sleep(0.1)
            status = await mesh.status()

    received = list(subscriber.received)
    ids: dict[int, set[str | None]] = defaultdict(set)
    for each in received:
        ids[int(each.body)].add(each.header("ce-id"))
    firsts = list(dict.fromkeys(int(each.body) for each in received))
    assert before < numbers(received) == set(range(ROWS))
    assert all(found == {str(number)} for number, found in ids.items())
    assert firsts == sorted(firsts)
    [source] = status.sources
    assert (source.kind, source.name) == ("PostgresqlSource", "default/orders")
    assert source.state == "running"


async def test_rows_go_through_the_mesh_into_a_table_each_once_though_it_is_killed(
    running_mesh: Callable[..., RunningMesh], postgresql: Database
) -> None:
    for page in (SOURCE, SINK):
        sql = block(page, "sql").replace("TO mesh", f"TO {ADMIN}")
        await postgresql.connection.execute(sql)
    pages = [of_page(page, postgresql) for page in (SOURCE, SINK)]
    async with running_mesh(manifest(broker(), secret(postgresql), *pages)) as mesh:
        inserting = asyncio.create_task(insert(postgresql))
        async with asyncio.timeout(40):
            while await count(postgresql, "events") < 200:
                await asyncio.sleep(0.05)
            await mesh.kill9()
            await mesh.start()
            await inserting
            while await count(postgresql, "events") < ROWS:
                await asyncio.sleep(0.05)
        await mesh.until(lambda status: status.brokers[0].triggers[0].waiting == 0)

    rows = await postgresql.connection.fetch("SELECT id, type, data FROM events")
    found = sorted((int(each["id"]), each["type"], each["data"]) for each in rows)
    assert found == [(number, "order", str(number)) for number in range(ROWS)]
