"""PostgresqlSource on a real PostgreSQL: what it reads, what it leaves, and what it survives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from cemesh.testing import RunningSource, running
from sources.postgresql import PostgresqlSource, PostgresqlSourceSpec
from tests.services.postgresql.fixtures import Database
from tests.services.postgresql.server import (
    ADMIN,
    CERTIFIED,
    PASSWORD,
    TLS_ONLY,
    PostgresqlServer,
)
from tests.services.relay import Relay
from tests.unit.meshes import until

pytestmark = pytest.mark.timeout(60)

PAGE = (Path(__file__).parents[2] / "docs" / "sources" / "PostgresqlSource.md").read_text()
TABLE, EXAMPLE, MARK = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RARELY = "PT1H"
URI = "/apis/v1/namespaces/default/postgresqlsources/test"


@pytest.fixture
async def mesh(postgresql: Database) -> str:
    """Return a role that the page's SQL has granted what it grants, with the page's table."""
    role = f"mesh_{postgresql.name}"
    await postgresql.connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await postgresql.connection.execute(TABLE.replace("TO mesh", f"TO {role}"))
    return role


def read(
    database: Database, by: str = ADMIN, /, **fields: object
) -> AbstractAsyncContextManager[RunningSource]:
    asked = {"table": "outbox", "channel": "outbox", "pollInterval": RARELY, "user": by}
    spec = PostgresqlSourceSpec.model_validate(database.spec(**asked | fields))
    return running(PostgresqlSource, spec)


async def left(database: Database) -> int:
    return int(await database.connection.fetchval("SELECT count(*) FROM outbox"))


async def until_left(database: Database, count: int) -> None:
    async with asyncio.timeout(30):
        while await left(database) != count:
            await asyncio.sleep(0.01)


async def insert(database: Database, *ids: str) -> None:
    await database.connection.executemany(
        "INSERT INTO outbox (id, type, data) VALUES ($1, 'order', '1')", [(each,) for each in ids]
    )


async def sessions(database: Database) -> int:
    """Return how many connections of the source there are."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = $2"
    return int(await database.connection.fetchval(asked, database.name, "cemesh default/test"))


# --- what a row becomes ----------------------------------------------------------------------


async def test_the_rows_of_the_page_are_emitted_and_deleted_and_the_notify_wakes_it(
    postgresql: Database, mesh: str
) -> None:
    async with read(postgresql, mesh) as run:
        await run.until("running")
        await until_idle(postgresql)
        await postgresql.connection.execute(EXAMPLE)
        [event] = await run.events(1)
        await until_left(postgresql, 0)

    attributes = dict(event.attributes)
    assert re.fullmatch(r"[0-9a-f-]{36}", attributes.pop("id"))
    assert re.fullmatch(r"2\S+T\S+\.[0-9]{6}Z", attributes.pop("time"))
    assert attributes == {
        "specversion": "1.0",
        "source": f"{URI}#outbox",
        "type": "order.created",
        "subject": "order/17",
        "datacontenttype": "application/json",
    }
    assert event.data == b'{"total": 9.50}'


async def until_idle(database: Database) -> None:
    """Return once the source listens, and has seen that there is nothing."""
    asked = "SELECT query FROM pg_stat_activity WHERE application_name = 'cemesh default/test'"
    async with asyncio.timeout(30):
        while (await database.connection.fetchval(asked) or "") != "COMMIT;":
            await asyncio.sleep(0.01)


async def test_all_columns_are_read_as_they_are(postgresql: Database, mesh: str) -> None:
    await postgresql.connection.execute(
        "INSERT INTO outbox (id, source, type, subject, time, datacontenttype, data, extensions) "
        "VALUES ('7', 'https://shop.example/ä'::text, 'order', NULL, NULL, NULL, NULL, NULL), "
        "('8', '/shop', 'order', 'ö', '2026-01-02 03:04:05.678901+02', 'application/x+json', "
        """'[1.50]', '{"tenant": "ü", "priority": 3, "vip": true, "gone": null}')"""
    )

    async with read(postgresql) as run:
        [event] = await run.events(1)
        [refused] = await run.rejected(1)
        await until_left(postgresql, 0)

    assert event.typed == {
        "specversion": "1.0",
        "id": "8",
        "source": "/shop",
        "type": "order",
        "subject": "ö",
        "time": "2026-01-02T01:04:05.678901Z",
        "datacontenttype": "application/x+json",
        "tenant": "ü",
        "priority": 3,
        "vip": True,
    }
    assert event.data == b"[1.50]"
    assert refused.event.id == "outbox/1"
    assert "the row 1 of \"outbox\": 'source' is not a URI-reference" in refused.why.reason


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("'', 'order', NULL", "'id' is empty"),
        ("'1', 'order', '[]'", "the extensions are no object"),
        ("'1', 'order', '{\"N\": 1}'", "'N' is not an attribute name"),
        ("'1', 'order', '{\"n\": 2147483648}'", "'n' is not an integer of 32 bits"),
        ("'1', 'order', '{\"id\": \"2\"}'", "'id' is among the extensions"),
    ],
)
async def test_a_row_that_is_no_event_is_a_dead_letter_and_is_gone(
    postgresql: Database, mesh: str, values: str, why: str
) -> None:
    await postgresql.connection.execute(
        "INSERT INTO outbox (id, type, extensions, data) "  # noqa: S608 - the test's own values
        f"VALUES ({values}, '[3]')"
    )
    await insert(postgresql, "good")

    async with read(postgresql, mesh) as run:
        [event] = await run.events(1)
        [letter] = await run.rejected(1)
        await until_left(postgresql, 0)

    assert event.id == "good"
    assert why in letter.why.reason
    assert letter.event.data == b"[3]"


async def test_a_table_of_ones_own_is_read_by_the_names_of_its_columns(
    postgresql: Database,
) -> None:
    await postgresql.connection.execute(
        'CREATE SCHEMA "My Shop"; CREATE TABLE "My Shop"."Out" ('
        '"no" integer PRIMARY KEY, kind varchar, "at" text, payload bytea, "a.b""c" uuid)'
    )
    insert = 'INSERT INTO "My Shop"."Out" VALUES ($1, $2, $3, $4, gen_random_uuid())'
    at = "2026-01-02T03:04:05.678901234+02:00"
    # As text, 10 would come before 9.
    for number in (10, 9):
        await postgresql.connection.execute(insert, number, "order", at, b"\xff\x00")
    columns = {"position": "no", "id": "no", "type": "kind", "time": "at", "data": "payload"}

    async with read(
        postgresql, table="My Shop.Out", columns={**columns, "subject": 'a.b"c'}
    ) as run:
        first, second = await run.events(2)

    assert (first.id, second.id) == ("9", "10")
    assert first.attributes["time"] == at
    assert first.data == b"\xff\x00"
    assert len(first.attributes["subject"]) == 36
    assert first.source == f"{URI}#My%20Shop.Out"
    assert "datacontenttype" not in first.attributes


# --- nothing is passed over, and nothing is gone before it is durable ------------------------


async def test_a_row_that_commits_after_later_ones_is_not_passed_over(
    postgresql: Database, mesh: str
) -> None:
    late = await asyncpg.connect(postgresql.place.admin(postgresql.name))
    try:
        async with read(postgresql, mesh) as run:
            async with late.transaction():
                await late.execute("INSERT INTO outbox (id, type) VALUES ('first', 'order')")
                await insert(postgresql, "second")
                [second] = await run.events(1)
                await until_left(postgresql, 0)
            [first] = await run.events(1)
            await until_left(postgresql, 0)
    finally:
        await late.close()

    assert (first.id, second.id) == ("first", "second")


async def test_what_is_rolled_back_is_never_emitted(postgresql: Database, mesh: str) -> None:
    async with read(postgresql, mesh) as run:
        transaction = postgresql.connection.transaction()
        await transaction.start()
        await insert(postgresql, "never")
        await transaction.rollback()
        await insert(postgresql, "yes")
        [event] = await run.events(1)

    assert event.id == "yes"


async def test_nothing_is_deleted_before_it_is_durable(postgresql: Database, mesh: str) -> None:
    async with read(postgresql, mesh) as run:
        await insert(postgresql, "1")
        await run.events(1)
        await until_left(postgresql, 0)
        with run.outage():
            await insert(postgresql, "2")
            status = await run.until("unhealthy")
            assert await left(postgresql) == 1
            assert status.lag == 1
        [event] = await run.events(1)
        await until_left(postgresql, 0)

    assert event.id == "2"


async def test_what_was_emitted_and_could_not_be_deleted_comes_again_with_its_id(
    postgresql: Database, mesh: str
) -> None:
    await postgresql.connection.execute(
        "CREATE RULE keep AS ON DELETE TO outbox DO INSTEAD NOTHING"
    )
    await insert(postgresql, "1")

    async with read(postgresql, mesh) as run:
        [first] = await run.events(1)
        status = await run.until("unhealthy")
        await postgresql.connection.execute("DROP RULE keep ON outbox")
        [again] = await run.events(1)
        await until_left(postgresql, 0)

    assert (first.source, first.id) == (again.source, again.id)
    assert "none could be deleted; does a trigger, a rule" in (status.error or "")


async def test_many_rows_come_in_the_order_of_their_keys(postgresql: Database, mesh: str) -> None:
    ids = [str(number) for number in range(1_201)]
    await insert(postgresql, *ids)

    async with read(postgresql, mesh) as run:
        events = await run.events(len(ids))
        await until_left(postgresql, 0)

    assert [each.id for each in events] == ids


async def test_all_that_wait_are_counted_also_those_that_are_not_read_yet(
    postgresql: Database, mesh: str
) -> None:
    async with read(postgresql, mesh) as run:
        with run.outage():
            await insert(postgresql, *map(str, range(1_201)))
            await run.until("unhealthy")
            assert run.status.lag == 1_201
        await run.events(1_201)
        await until(lambda: run.status.lag == 0)


async def test_rows_that_are_large_come_in_smaller_batches_and_none_is_missing(
    postgresql: Database, mesh: str
) -> None:
    await postgresql.connection.execute(
        "INSERT INTO outbox (id, type, data) "
        "SELECT n, 'order', to_jsonb(repeat('x', 400000)) FROM generate_series(1, 60) AS n"
    )

    async with read(postgresql, mesh) as run:
        events = await run.events(60)
        await until_left(postgresql, 0)

    assert [each.id for each in events] == [str(number) for number in range(1, 61)]


async def test_marked_rows_stay_and_do_not_come_again(postgresql: Database, mesh: str) -> None:
    await postgresql.connection.execute(f"REVOKE ALL ON outbox FROM {mesh}")
    await postgresql.connection.execute(MARK.replace("TO mesh", f"TO {mesh}"))
    await insert(postgresql, "1", "2")
    marked = "SELECT count(*) FROM outbox WHERE emitted_at IS NOT NULL"

    async with read(postgresql, mesh, onEmitted="mark") as run:
        await run.events(2)
        async with asyncio.timeout(30):
            while await postgresql.connection.fetchval(marked) != 2:
                await asyncio.sleep(0.01)
        await run.restart()
        await insert(postgresql, "3")
        [event] = await run.events(1)

    assert event.id == "3"
    earliest = await postgresql.connection.fetchval("SELECT min(emitted_at) FROM outbox")
    assert earliest <= datetime.now(UTC)


async def test_a_view_is_an_outbox_where_rows_can_be_deleted_from_it(
    postgresql: Database, mesh: str
) -> None:
    await postgresql.connection.execute(
        "CREATE VIEW orders AS SELECT position, id, 'order' AS type, data FROM outbox "
        "WHERE type LIKE 'order%'; INSERT INTO outbox (id, type) VALUES ('1', 'o'), ('2', 'order')"
    )

    async with read(postgresql, table="orders") as run:
        [event] = await run.events(1)
        await until_left(postgresql, 1)

    assert (event.id, event.type) == ("2", "order")


async def test_without_a_notify_it_looks_every_interval(postgresql: Database, mesh: str) -> None:
    await postgresql.connection.execute("DROP TRIGGER outbox_notify ON outbox")

    async with read(postgresql, mesh, channel=None, pollInterval="PT0.1S") as run:
        await insert(postgresql, "1")
        await run.events(1)
        await insert(postgresql, "2")
        [event] = await run.events(1)

    assert event.id == "2"


# --- what goes wrong -------------------------------------------------------------------------


async def test_a_connection_that_is_cut_is_told_and_it_goes_on(
    postgresql: Database, mesh: str, postgresql_relay: Relay
) -> None:
    url = postgresql_relay.in_url(postgresql.place.url(postgresql.name))

    async with read(postgresql, mesh, url=url) as run:
        await insert(postgresql, "1")
        await run.events(1)
        await until_left(postgresql, 0)
        with postgresql_relay.cut():
            await insert(postgresql, "2")
            status = await run.until("unhealthy")
        [event] = await run.events(1)
        await until_left(postgresql, 0)
        await run.until("running")

    assert event.id == "2"
    assert f"PostgreSQL at {postgresql_relay.address}, database " in (status.error or "")


async def test_a_server_that_is_killed_and_comes_back_has_every_row_still(
    postgresql_server: PostgresqlServer,
) -> None:
    with postgresql_server as server:
        connection = await asyncpg.connect(server.place.admin())
        await connection.execute(TABLE.replace("TO mesh", f"TO {ADMIN}"))
        database = Database(place=server.place, name="postgres", connection=connection)
        async with read(database) as run:
            await insert(database, "1")
            await run.events(1)
            await until_left(database, 0)
            with run.outage():
                await insert(database, "2", "3")
                await run.until("unhealthy")
                await asyncio.to_thread(server.kill)
            found = {each.id for each in await run.events(2)}
            status = await run.until("unhealthy")
            await asyncio.to_thread(server.start)
            # They could not be deleted, and come again.
            again = {each.id for each in await run.events(2)}
        connection.terminate()

    assert found == again == {"2", "3"}
    assert f"PostgreSQL at {server.place.address}" in (status.error or "")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"password": "wrong"}, "are 'user' and 'password' those that it knows? (28P01)"),
        ({"user": "nobody"}, "are 'user' and 'password' those that it knows? (28P01)"),
        ({"table": "nowhere"}, 'there is no table "nowhere"'),
        ({"table": "away.outbox"}, 'there is no table "away"."outbox"'),
        ({"columns": {"subject": "topic"}}, "no column \"topic\", where 'subject' should be"),
        ({"columns": {"id": "idd"}}, "no column \"idd\" (did you mean 'id'?)"),
        ({"columns": {"time": "at"}, "table": "odd"}, "'time' takes timestamptz or text"),
        ({"table": "odd"}, 'ALTER TABLE "odd" ADD UNIQUE ("position"), ALTER "position" SET NOT'),
        ({"onEmitted": "mark", "columns": {"emittedAt": "odd"}}, '"odd" is of type boolean'),
        ({"onEmitted": "mark"}, "no column \"emitted_at\", where 'emitted_at' should be"),
    ],
)
async def test_what_keeps_it_from_reading_is_said_in_words(
    postgresql: Database, mesh: str, fields: Mapping[str, object], why: str
) -> None:
    await postgresql.connection.execute(
        "CREATE TABLE odd (position int, id text, type text, at date); "
        "ALTER TABLE outbox ADD odd boolean"
    )

    async with read(postgresql, **{"user": ADMIN, **fields}) as run:
        status = await run.until("unhealthy")

    assert status.error is not None
    assert why in status.error
    assert f"PostgreSQL at {postgresql.place.address}, database {postgresql.name}: " in status.error


@pytest.mark.parametrize(
    ("revoked", "fields", "why"),
    [
        ("SELECT", {}, 'GRANT SELECT ON "outbox" TO "{user}"'),
        ("DELETE", {}, 'GRANT DELETE ON "outbox" TO "{user}"'),
        ("ALL", {"table": "hidden.outbox"}, "permission denied for schema hidden; see GRANT"),
        ("DELETE", {"onEmitted": "mark"}, 'GRANT UPDATE ON "outbox" TO "{user}"'),
    ],
)
async def test_a_privilege_that_is_missing_is_told_with_its_grant(
    postgresql: Database, mesh: str, revoked: str, fields: Mapping[str, object], why: str
) -> None:
    await postgresql.connection.execute(
        f"REVOKE {revoked} ON outbox FROM {mesh}; ALTER TABLE outbox ADD emitted_at timestamptz; "
        "CREATE SCHEMA hidden; CREATE TABLE hidden.outbox (position int PRIMARY KEY)"
    )

    async with read(postgresql, mesh, **fields) as run:
        status = await run.until("unhealthy")

    assert why.format(user=mesh) in (status.error or "")


async def test_a_server_that_is_read_only_gets_nothing_emitted_that_would_come_again(
    postgresql: Database, mesh: str
) -> None:
    await postgresql.connection.execute(f"ALTER ROLE {mesh} SET default_transaction_read_only = on")
    await insert(postgresql, "1")

    async with read(postgresql, mesh) as run:
        status = await run.until("unhealthy")

    assert "it is read-only, as a standby is" in (status.error or "")
    assert status.emitted == 0


async def test_tls_trusts_the_authority_and_shows_a_certificate(
    postgresql: Database, mesh: str
) -> None:
    await postgresql.connection.execute(f'GRANT ALL ON outbox TO "{CERTIFIED}", {TLS_ONLY}')
    key, cert = postgresql.place.client
    secure = {"enable": True, "caCert": postgresql.place.authority}
    seen: list[Sequence[str]] = []

    for user, more in ((TLS_ONLY, {}), (CERTIFIED, {"cert": cert, "key": key})):
        async with read(postgresql, user, tls={**secure, **more}) as run:
            await insert(postgresql, user)
            seen.append([each.id for each in await run.events(1)])
            await until_left(postgresql, 0)

    assert seen == [[TLS_ONLY], [CERTIFIED]]


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        ({}, "does its pg_hba.conf let this user in from here, by these means? (28000)"),
        ({"enable": True}, "does 'tls.caCert' have the authority of its certificate?"),
    ],
)
async def test_tls_that_is_missing_or_not_trusted_is_said_in_words(
    postgresql: Database, mesh: str, tls: Mapping[str, object], why: str
) -> None:
    async with read(postgresql, TLS_ONLY, tls=tls) as run:
        status = await run.until("unhealthy")

    assert why in (status.error or "")


async def test_it_ends_soon_where_the_server_does_not_answer(
    postgresql: Database, mesh: str, postgresql_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgresql_relay.in_url(postgresql.place.url(postgresql.name))

    async with read(postgresql, mesh, url=url, pollInterval="PT0.1S") as run:
        await insert(postgresql, "1")
        await run.events(1)
        await until_left(postgresql, 0)
        with postgresql_relay.hung():
            await insert(postgresql, "2")
            await asyncio.sleep(0.3)  # so that it has asked, and waits for the answer
            await run.stop()
        run.start()
        [event] = await run.events(1)

    assert event.id == "2"
    assert "source does not end" not in caplog.text


async def test_it_ends_soon_where_the_server_does_not_answer_amid_a_read(
    postgresql: Database, mesh: str, postgresql_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgresql_relay.in_url(postgresql.place.url(postgresql.name))
    other = postgresql.connection

    async with read(postgresql, mesh, url=url, pollInterval="PT0.1S") as run:
        await run.until("running")
        await until_idle(postgresql)
        async with other.transaction():
            await other.execute("LOCK TABLE outbox")
            await until_blocked(postgresql)
            with postgresql_relay.hung():
                await run.stop()

    assert "source does not end" not in caplog.text


async def until_blocked(database: Database) -> None:
    asked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass"
    async with asyncio.timeout(30):
        while not await database.connection.fetchval(asked):
            await asyncio.sleep(0.01)


async def test_cancelled_it_leaves_no_connection_and_no_task(
    postgresql: Database, mesh: str
) -> None:
    before = asyncio.all_tasks()

    async with read(postgresql, mesh) as run:
        for number in range(5):
            await insert(postgresql, str(number))
            await run.restart()
        await run.stop()
        async with asyncio.timeout(30):
            while await sessions(postgresql):
                await asyncio.sleep(0.01)

    assert asyncio.all_tasks() == before
