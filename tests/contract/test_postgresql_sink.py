"""PostgresqlSink on a real PostgreSQL: what becomes of events, and of those that are refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.event import Event
from broker.ports import Accepted, Answer, Refused, Sink
from cemesh.testing import running
from cemesh.testing.contract.sinks import event, taking
from sinks.postgresql import PostgresqlSink, PostgresqlSinkSpec
from sources.postgresql import PostgresqlSource, PostgresqlSourceSpec
from tests.services.postgresql.fixtures import Database
from tests.services.postgresql.server import ADMIN, PASSWORD, PostgresqlServer
from tests.services.relay import Relay

pytestmark = pytest.mark.timeout(60)

PAGE = (Path(__file__).parents[2] / "docs" / "sinks" / "PostgresqlSink.md").read_text()
[TABLE] = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
EXACT = TABLE.replace("time            timestamptz", "time text").replace(
    "data            jsonb", "data bytea"
)


class Described:
    """A sink, as `taking` asks for it."""

    def __init__(self, spec: object) -> None:
        self.sink: object = PostgresqlSink
        self.spec = spec

    async def arrived(self, count: int) -> Sequence[Event]:
        raise NotImplementedError

    def outage(self) -> Any:  # noqa: ANN401 - no test of this file asks for it
        raise NotImplementedError


@asynccontextmanager
async def sink_of(database: Database, **fields: object) -> AsyncIterator[Sink]:
    spec = PostgresqlSinkSpec.model_validate(database.spec(**{"table": "events", **fields}))
    async with taking(Described(spec)) as sink:
        yield sink


async def all_at_once(sink: Sink, events: Sequence[Event]) -> Sequence[Answer]:
    return await asyncio.gather(*map(sink.attempt, events))


async def make(database: Database, table: str = TABLE, to: str = ADMIN) -> None:
    await database.connection.execute(table.replace("TO mesh", f"TO {to}"))


async def ids(database: Database) -> Sequence[str]:
    rows = await database.connection.fetch("SELECT id FROM events ORDER BY position")
    return [each["id"] for each in rows]


async def refusal(database: Database, **fields: object) -> Refused:
    async with sink_of(database, **fields) as sink:
        answer = await sink.attempt(event("1"))
    assert isinstance(answer, Refused)
    return answer


# --- what becomes of events ------------------------------------------------------------------


async def test_the_table_of_the_page_takes_events_from_who_was_granted_what_it_grants(
    postgresql: Database,
) -> None:
    role = f"mesh_{postgresql.name}"
    await postgresql.connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await make(postgresql, to=role)
    typed = {**event("1").typed, "priority": 3, "vip": True, "dataschema": "https://x.example/s"}

    async with sink_of(postgresql, user=role) as sink:
        first = await sink.attempt(Event.of_typed(typed, event("1").data))
        bare = await sink.attempt(
            Event.checked({"specversion": "1.0", "id": "2", "source": "/shop", "type": "t"})
        )

    assert first == bare == Accepted()
    one, two = await postgresql.connection.fetch(
        "SELECT position, id, source, type, subject, time::text, datacontenttype, data, "
        "extensions->>'priority' AS priority, extensions->'vip' AS vip, "
        "extensions->>'dataschema' AS dataschema, extensions->>'partitionkey' AS key, "
        "(SELECT count(*) FROM jsonb_object_keys(extensions)) AS extensions "
        "FROM events ORDER BY position"
    )
    assert dict(one) == {
        "position": 1,
        "id": "1",
        "source": "/shop",
        "type": "order.created",
        "subject": "ä «1»",
        "time": one["time"],
        "datacontenttype": "application/json",
        "data": '{"a": [1, 2.50]}',
        "priority": "3",
        "vip": "true",
        "dataschema": "https://x.example/s",
        "key": "k",
        "extensions": 4,
    }
    assert ":04:05.678901" in one["time"]
    assert (two["id"], two["data"], two["time"], two["vip"]) == ("2", None, None, None)


async def test_an_event_that_comes_again_makes_no_second_row(postgresql: Database) -> None:
    await make(postgresql)
    events = [event("1"), event("1"), event("2")]

    async with sink_of(postgresql) as sink:
        answers = [*await all_at_once(sink, events), *await all_at_once(sink, events)]

    assert answers == [Accepted()] * 6
    assert await ids(postgresql) == ["1", "2"]


async def test_without_being_idempotent_every_attempt_makes_a_row(postgresql: Database) -> None:
    await make(postgresql, TABLE.replace(",\n  UNIQUE (source, id)", ""))

    async with sink_of(postgresql, idempotent=False) as sink:
        await sink.attempt(event("1"))
        await sink.attempt(event("1"))

    assert await ids(postgresql) == ["1", "1"]


async def test_what_it_inserts_a_source_reads_as_it_was(postgresql: Database) -> None:
    await make(postgresql, EXACT)
    typed = {**event("1").typed, "priority": -7, "vip": False}
    events = [
        event("0", b'{"a":  [1, 2.50]}\n'),
        Event.of_typed({**typed, "datacontenttype": "image/png"}, b"\xff\x00"),
        event("2", None),
        event("3", b""),
    ]

    async with sink_of(postgresql) as sink:
        await all_at_once(sink, events)
    spec = PostgresqlSourceSpec.model_validate(postgresql.spec(table="events"))
    async with running(PostgresqlSource, spec) as source:
        read = await source.events(4)

    assert read == events


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "more", "why"),
    [
        (b"text", {"datacontenttype": "text/plain"}, "the payload is text/plain, and the column"),
        (b"{no", {}, "the payload is not JSON: "),
        (b'"\xff"', {}, "the payload is not "),
        (b'"\\u0000"', {}, "(22P05)"),
        (b"1", {"time": "0000-01-01T00:00:00Z"}, "(22008)"),
        (
            b"1",
            {"subject": "forbidden"},
            'violates check constraint "events_subject_check" (23514)',
        ),
        (b"1", {"id": "x" * 9_000}, "(54000)"),
        (b"1", {"type": "order.created.late"}, "value too long for type character(13) (22001)"),
    ],
)
async def test_one_that_the_table_does_not_take_is_refused_for_good_and_fails_no_other(
    postgresql: Database, data: bytes, more: Mapping[str, str], why: str
) -> None:
    await make(postgresql)
    # What repeats itself would be compressed, and then be short enough for an index.
    await postgresql.connection.execute(
        "ALTER TABLE events ADD CHECK (subject <> 'forbidden'), ALTER id SET STORAGE EXTERNAL, "
        "ALTER type TYPE char(13)"
    )
    events = [event(str(number)) for number in range(40)]
    bad = Event.checked({**event("bad").attributes, **more}, data)

    async with sink_of(postgresql) as sink:
        answers = await all_at_once(sink, [*events[:20], bad, *events[20:]])

    [refused] = [each for each in answers if isinstance(each, Refused)]
    assert answers[20] is refused
    assert why in refused.reason
    assert refused.permanent
    assert "partitionkey" not in refused.reason, "nothing of the row is shown"
    assert sorted(await ids(postgresql)) == sorted(each.id for each in events)


async def test_what_a_trigger_of_the_database_raises_is_tried_again_and_fails_no_other(
    postgresql: Database,
) -> None:
    await make(postgresql)
    await postgresql.connection.execute(
        "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id = '3' THEN RAISE 'not today'; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER picky BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION picky()"
    )

    async with sink_of(postgresql) as sink:
        answers = await all_at_once(sink, [event(str(number)) for number in range(6)])

    [refused] = [each for each in answers if isinstance(each, Refused)]
    assert "not today" in refused.reason
    assert not refused.permanent
    assert sorted(await ids(postgresql)) == ["0", "1", "2", "4", "5"]


@pytest.mark.parametrize(
    ("change", "fields", "why"),
    [
        ("", {"password": "wrong"}, "are 'user' and 'password' those that it knows? (28P01)"),
        ("DROP TABLE events", {}, 'there is no table "events"'),
        ("ALTER TABLE events DROP extensions", {}, "no column \"extensions\", where 'extensions'"),
        ("ALTER TABLE events RENAME data TO body", {}, "no column \"data\", where 'data'"),
        (
            "ALTER TABLE events DROP CONSTRAINT events_source_id_key",
            {},
            "ALTER TABLE \"events\" ADD UNIQUE (source, id), or set 'idempotent: false'",
        ),
    ],
)
async def test_what_keeps_it_from_inserting_is_said_and_may_be_tried_again(
    postgresql: Database, change: str, fields: Mapping[str, object], why: str
) -> None:
    await make(postgresql)
    await postgresql.connection.execute(change or "SELECT 1")

    refused = await refusal(postgresql, **fields)

    assert why in refused.reason
    assert f"PostgreSQL at {postgresql.place.address}, database " in refused.reason
    assert not refused.permanent


async def test_a_privilege_that_is_missing_is_told_with_its_grant_and_granted_it_goes_on(
    postgresql: Database,
) -> None:
    role = f"mesh_{postgresql.name}"
    await postgresql.connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    await make(postgresql)

    async with sink_of(postgresql, user=role) as sink:
        refused = await sink.attempt(event("1"))
        await postgresql.connection.execute(f"GRANT INSERT, SELECT ON events TO {role}")
        answer = await sink.attempt(event("1"))

    assert isinstance(refused, Refused)
    assert f'GRANT INSERT ON "events" TO "{role}"' in refused.reason
    assert answer == Accepted()


# --- what it survives ------------------------------------------------------------------------


async def test_a_connection_that_is_cut_is_made_anew(
    postgresql: Database, postgresql_relay: Relay
) -> None:
    await make(postgresql)
    url = postgresql_relay.in_url(postgresql.place.url(postgresql.name))

    async with sink_of(postgresql, url=url) as sink:
        await sink.attempt(event("1"))
        with postgresql_relay.cut():
            refused = await sink.attempt(event("2"))
        answer = await sink.attempt(event("2"))

    assert isinstance(refused, Refused)
    assert f"PostgreSQL at {postgresql_relay.address}" in refused.reason
    assert answer == Accepted()
    assert await ids(postgresql) == ["1", "2"]


async def test_what_was_accepted_is_there_after_the_server_was_killed(
    postgresql_server: PostgresqlServer,
) -> None:
    with postgresql_server as server:
        # Even where the operator lets commits be lost.
        server.psql("ALTER SYSTEM SET synchronous_commit = off")
        server.psql("SELECT pg_reload_conf()")
        server.psql(TABLE.replace("TO mesh", f"TO {ADMIN}"))
        connection = await asyncpg.connect(server.place.admin())
        database = Database(place=server.place, name="postgres", connection=connection)
        async with sink_of(database) as sink:
            answers: list[Answer] = []
            for start in range(0, 600, 20):
                events = [event(str(number)) for number in range(start, start + 20)]
                answers += await all_at_once(sink, events)
            server.kill()
            refused = await sink.attempt(event("600"))
            await asyncio.to_thread(server.start)
            answers.append(await sink.attempt(event("600")))
        connection.terminate()
        connection = await asyncpg.connect(server.place.admin())
        rows = await connection.fetch("SELECT id FROM events")
        await connection.close()

    assert answers == [Accepted()] * 601
    assert isinstance(refused, Refused)
    assert {each["id"] for each in rows} == {str(number) for number in range(601)}


async def test_left_it_keeps_no_connection_and_no_task(postgresql: Database) -> None:
    await make(postgresql)
    before = asyncio.all_tasks()

    async with sink_of(postgresql) as sink:
        await all_at_once(sink, [event(str(number)) for number in range(5)])

    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cemesh default/test' "
    async with asyncio.timeout(30):
        while await postgresql.connection.fetchval(f"{asked} AND datname = current_database()"):
            await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before
