"""RedisStreamSource on a real Redis: what it reads, from where on, and what it survives."""

from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from broker.codecs.json import encode_event
from cemesh.testing.contract.sinks import event as made
from sources.redis import group, source
from tests.contract.redis_streams import (
    Fields,
    add,
    ask,
    client,
    numbered,
    pending,
    read,
    until_acknowledged,
)
from tests.services.redis.server import PASSWORD, READER, USER, Listeners, RedisServer
from tests.services.relay import Relay
from tests.unit.meshes import until

PAGE = Path(__file__, "../../../docs/sources/RedisStreamSource.md").resolve()
SOON = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_LOOKS_EVERY", 0.1)
    monkeypatch.setattr(group, "_BLOCKS", timedelta(milliseconds=50))


@pytest.fixture
def stream() -> str:
    return f"source-{uuid.uuid4()}"


async def give(url: str, stream: str, count: int, *, to: str = "gone") -> None:
    """Give so many entries to a consumer, by default to one that never acknowledges them."""
    async with client(url) as redis:
        words = ("GROUP", "g", to, "COUNT", count, "STREAMS", stream, ">")
        await redis.execute_command("XREADGROUP", *words)


# --- what is read ----------------------------------------------------------------------------


async def test_an_entry_that_is_no_event_becomes_one_that_says_where_it_stood(
    redis_url: str, stream: str
) -> None:
    fields: list[str | bytes] = ["order", "17", "ä", "ü", "order", "18", "raw", b"\xff"]
    await ask(redis_url, "XADD", stream, "1772330400123-5", *fields)

    async with read(redis_url, stream) as run:
        [event] = await run.events(1, within=SOON)

    assert event.attributes == {
        "specversion": "1.0",
        "id": "1772330400123-5",
        "source": f"/apis/v1/namespaces/default/redisstreamsources/orders#{stream}",
        "type": "dev.cemesh.redis.entry",
        "time": "2026-03-01T02:00:00.123Z",
        "datacontenttype": "application/json",
    }
    assert json.loads(event.data or b"") == {
        "order": ["17", "18"],
        "ä": "ü",
        "raw": {"base64": "/w=="},
    }


async def test_a_cloudevent_is_what_it_is_and_what_only_says_it_is_one_is_a_dead_letter(
    redis_url: str, stream: str
) -> None:
    good = made("1", b"\xff\x00")
    await add(redis_url, stream, {"trace": "x", "cloudevent": encode_event(good)})
    (bad, unnamed) = await add(redis_url, stream, {"cloudevent": b"[no"}, {b"\xff": b"1"})
    await ask(redis_url, "XADD", stream, "*", "cloudevent", "a", "cloudevent", "b")

    async with read(redis_url, stream) as run:
        [event] = await run.events(1, within=SOON)
        letters = {each.event.id: each for each in await run.rejected(3, within=SOON)}
        await until_acknowledged(redis_url, stream)

    assert event == good
    assert letters[f"{stream}/{bad}"].event.data == b"[no"
    assert f"the entry {bad} of stream {stream}: " in letters[f"{stream}/{bad}"].why.reason
    assert "is not UTF-8" in letters[f"{stream}/{unnamed}"].why.reason
    assert any("occurs 2 times" in each.why.reason for each in letters.values())


async def test_what_was_deleted_before_it_was_read_is_acknowledged_and_told(
    redis_url: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = await add(redis_url, stream, *numbered(1, 2, 3))
    await ask(redis_url, "XGROUP", "CREATE", stream, "g", "0")
    await give(redis_url, stream, 3, to=group.consumer(os.getpid()))
    await ask(redis_url, "XDEL", stream, first, second)

    async with read(redis_url, stream) as run:
        [event] = await run.events(1, within=SOON)
        await until_acknowledged(redis_url, stream)

    assert json.loads(event.data or b"") == {"n": "3"}
    [told] = [each for each in caplog.records if each.message == "entries were deleted unread"]
    assert vars(told)["count"] == 2


async def test_what_another_was_given_and_is_deleted_is_acknowledged(
    redis_url: str, stream: str
) -> None:
    first, _ = await add(redis_url, stream, *numbered(1, 2))
    await ask(redis_url, "XGROUP", "CREATE", stream, "g", "0")
    await give(redis_url, stream, 2)
    await ask(redis_url, "XDEL", stream, first)

    async with read(redis_url, stream, claimAfter="PT0.1S") as run:
        [event] = await run.events(1, within=SOON)
        await until_acknowledged(redis_url, stream)

    assert json.loads(event.data or b"") == {"n": "2"}


# --- from where on ---------------------------------------------------------------------------


async def test_the_end_is_what_comes_after_the_first_start_also_while_it_does_not_run(
    redis_url: str, stream: str
) -> None:
    await add(redis_url, stream, *numbered(1))

    async with read(redis_url, stream, startAt="end") as run:
        await until(lambda: run.status.lag == 0)
        await run.stop()
        await add(redis_url, stream, *numbered(2))
        run.start()
        [event] = await run.events(1, within=SOON)

    assert json.loads(event.data or b"") == {"n": "2"}


@pytest.mark.parametrize("start", ["beginning", "end"])
async def test_a_group_that_is_deleted_is_told_and_begins_again_where_it_first_began(
    redis_url: str, stream: str, start: str
) -> None:
    await add(redis_url, stream, *numbered(0))
    async with read(redis_url, stream, startAt=start) as run:
        await until(lambda: run.status.lag == 0)
        await add(redis_url, stream, *numbered(1))
        first = await run.events(2 if start == "beginning" else 1, within=SOON)
        await ask(redis_url, "XGROUP", "DESTROY", stream, "g")
        told = await run.until("unhealthy", within=SOON)
        await add(redis_url, stream, *numbered(2))
        again = await run.events(len(first) + 1, within=SOON)

    assert told.error is not None
    assert f"the stream '{stream}' or its group 'g' was deleted" in told.error
    assert [each.id for each in again[:-1]] == [each.id for each in first]
    assert json.loads(again[-1].data or b"") == {"n": "2"}


async def test_a_group_that_others_have_made_goes_on_and_begins_again_where_it_was(
    redis_url: str, stream: str
) -> None:
    ids = await add(redis_url, stream, *numbered(0, 1, 2))
    await ask(redis_url, "XGROUP", "CREATE", stream, "g", ids[0])
    async with read(redis_url, stream, startAt="end") as run:
        first = await run.events(2, within=SOON)
        await ask(redis_url, "XGROUP", "DESTROY", stream, "g")
        again = await run.events(2, within=SOON)

    assert [each.id for each in first] == [each.id for each in again] == ids[1:]


async def test_a_stream_that_is_deleted_is_made_again_and_read_whatever_its_ids_are(
    redis_url: str, stream: str
) -> None:
    await add(redis_url, stream, *numbered(0))
    async with read(redis_url, stream, startAt="end") as run:
        await until(lambda: run.status.lag == 0)
        await run.stop()
        await ask(redis_url, "DEL", stream)
        await add(redis_url, stream, *numbered(1), id="1-1")
        run.start()
        [event] = await run.events(1, within=SOON)

    assert (event.id, event.attributes["time"]) == ("1-1", "1970-01-01T00:00:00.001Z")


# --- at least once ---------------------------------------------------------------------------


async def test_nothing_is_acknowledged_before_it_is_durable(redis_url: str, stream: str) -> None:
    async with read(redis_url, stream) as run:
        await until(lambda: run.status.lag == 0)
        with run.outage():
            [added] = await add(redis_url, stream, *numbered(1))
            await run.until("unhealthy", within=SOON)
            await until(lambda: run.status.lag == 1)
            assert await pending(redis_url, stream) == 1
        [event] = await run.events(1, within=SOON)
        await until_acknowledged(redis_url, stream)

    assert event.id == added


async def test_what_was_not_acknowledged_comes_again_with_the_same_id(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledging = asyncio.Event()
    acknowledge = group.Group.acknowledge

    async def never(_: group.Group, ids: object) -> None:
        acknowledging.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(group.Group, "acknowledge", never)
    await add(redis_url, stream, *numbered(1))
    async with read(redis_url, stream) as run:
        [first] = await run.events(1, within=SOON)
        await asyncio.wait_for(acknowledging.wait(), 30)
        await run.stop()
        assert await pending(redis_url, stream) == 1
        monkeypatch.setattr(group.Group, "acknowledge", acknowledge)
        run.start()
        [again] = await run.events(1, within=SOON)
        await until_acknowledged(redis_url, stream)

    assert again == first


async def test_what_a_dead_consumer_has_left_is_taken_over_after_a_while_and_all_of_it(
    redis_url: str, stream: str
) -> None:
    ids = await add(redis_url, stream, *numbered(*range(450)))
    await ask(redis_url, "XGROUP", "CREATE", stream, "g", "0")
    await give(redis_url, stream, 450)
    two_hours = "7200000"
    await ask(redis_url, "XCLAIM", stream, "g", "gone", "0", *ids, "IDLE", two_hours)

    async with read(redis_url, stream, claimAfter="PT1H") as run:
        events = await run.events(450, within=SOON)
        await until_acknowledged(redis_url, stream)

    assert {each.id for each in events} == set(ids)


async def test_large_entries_are_read_few_at_a_time(
    redis_url: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "_BYTES_TOGETHER", 10_000)
    sizes: list[int] = []
    acknowledge = group.Group.acknowledge

    async def counted(of: group.Group, ids: Sequence[str]) -> None:
        sizes.append(len(ids))
        await acknowledge(of, ids)

    monkeypatch.setattr(group.Group, "acknowledge", counted)
    large: Fields = {"n": b"x" * 3_000}
    await add(redis_url, stream, *[large] * 30, *numbered(*range(400)))

    async with read(redis_url, stream) as run:
        await run.events(430, within=SOON)
        await until_acknowledged(redis_url, stream)

    assert sizes[:3] == [10, 3, 3]
    assert max(sizes) == 200


async def test_what_another_is_working_on_is_left_to_it(redis_url: str, stream: str) -> None:
    await add(redis_url, stream, *numbered(1))
    await ask(redis_url, "XGROUP", "CREATE", stream, "g", "0")
    await give(redis_url, stream, 1)
    async with read(redis_url, stream, claimAfter="PT1H") as run:
        await add(redis_url, stream, *numbered(2))
        [event] = await run.events(1, within=SOON)
        await until(lambda: run.status.lag == 1)

    assert json.loads(event.data or b"") == {"n": "2"}


async def test_processes_share_a_stream_and_nothing_comes_twice(
    redis_url: str, stream: str
) -> None:
    async with read(redis_url, stream) as one, read(redis_url, stream) as two:
        ids = await add(redis_url, stream, *numbered(*range(500)))
        await until(lambda: one.status.emitted + two.status.emitted >= 500)
        await until_acknowledged(redis_url, stream)
        events = await one.events(one.status.emitted) + await two.events(two.status.emitted)

    assert sorted(each.id for each in events) == sorted(ids)


# --- what it survives ------------------------------------------------------------------------


async def test_it_goes_on_by_itself_after_an_outage_and_says_that_there_is_one(
    redis_url: str, redis_relay: Relay, stream: str
) -> None:
    async with read(redis_relay.in_url(redis_url), stream) as run:
        await add(redis_url, stream, *numbered(1))
        await run.events(1, within=SOON)
        await until_acknowledged(redis_url, stream)
        with redis_relay.cut():
            told = await run.until("unhealthy", within=SOON)
            await add(redis_url, stream, *numbered(2))
        [second] = await run.events(1, within=SOON)
        await run.until("running", within=SOON)

    assert f"Redis at {redis_relay.address} cannot be used: " in (told.error or "")
    assert json.loads(second.data or b"") == {"n": "2"}


async def test_a_server_that_is_killed_and_comes_back_loses_nothing(
    redis_server: RedisServer, stream: str
) -> None:
    with redis_server:
        url = redis_server.listeners.url
        async with read(url, stream) as run:
            ids = await add(url, stream, *numbered(*range(20)))
            found = {each.id for each in await run.events(20, within=SOON)}
            await asyncio.to_thread(redis_server.kill)
            told = await run.until("unhealthy", within=SOON)
            await asyncio.to_thread(redis_server.start)
            ids += await add(url, stream, *numbered(20))
            while found < set(ids):
                found |= {each.id for each in await run.events(1, within=SOON)}

    assert "cannot be used: " in (told.error or "")


async def test_it_is_stopped_in_time_and_leaves_no_connection_also_while_redis_hangs(
    redis_url: str, redis_relay: Relay, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with read(redis_relay.in_url(redis_url), stream) as run:
        await until(lambda: run.status.lag == 0)
        with redis_relay.hung():
            await run.stop()
            tasks = {each.get_name() for each in asyncio.all_tasks()}
            run.start()
        await add(redis_url, stream, *numbered(1))
        await run.events(1, within=SOON)
        await run.stop()
    async with asyncio.timeout(30):
        while redis_relay._links:
            await asyncio.sleep(0.01)

    assert "source does not end" not in caplog.text
    assert not any("_watch" in each for each in tasks)


async def test_a_redis_that_hangs_is_told_of(
    redis_url: str, redis_relay: Relay, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broker.connections.redis import connecting

    monkeypatch.setattr(connecting, "ANSWERS_WITHIN", timedelta(milliseconds=500))
    async with read(redis_relay.in_url(redis_url), stream) as run:
        await until(lambda: run.status.lag == 0)
        with redis_relay.hung():
            told = await run.until("unhealthy", within=SOON)
            await add(redis_url, stream, *numbered(1))
        [event] = await run.events(1, within=SOON)

    assert "no answer in time" in (told.error or "")
    assert json.loads(event.data or b"") == {"n": "1"}


async def test_a_redis_that_is_not_there_is_one_line(stream: str) -> None:
    async with read("redis://127.0.0.1:1", stream) as run:
        told = await run.until("unhealthy", within=SOON)

    assert told.error == "Redis at 127.0.0.1:1 cannot be used: Connection refused"


async def test_a_key_that_is_no_stream_is_told(redis_url: str, stream: str) -> None:
    await ask(redis_url, "SET", stream, "1")

    async with read(redis_url, stream) as run:
        told = await run.until("unhealthy", within=SOON)

    assert "what has that name there is no stream" in (told.error or "")


# --- security --------------------------------------------------------------------------------


async def test_it_reads_over_tls_by_a_certificate_as_a_user_of_a_database(
    redis_listeners: Listeners, stream: str
) -> None:
    folder = Path(redis_listeners.folder)
    key, begin, certificate = (folder / "client.pem").read_text().partition("-----BEGIN CERT")
    tls = {
        "caCert": (folder / "authority.pem").read_text(),
        "cert": begin + certificate,
        "key": key,
    }
    url = f"rediss://{redis_listeners.tls}"
    async with client(redis_listeners.url, database=3) as redis:
        await redis.execute_command("XADD", stream, "*", "n", "1")

    async with read(url, stream, user=USER, password=PASSWORD, database=3, tls=tls) as run:
        [event] = await run.events(1, within=SOON)
    async with read(url, stream) as run:
        untrusted = await run.until("unhealthy", within=SOON)
    async with read(url, stream, tls={"caCert": tls["caCert"]}) as run:
        unknown = await run.until("unhealthy", within=SOON)

    assert json.loads(event.data or b"") == {"n": "1"}
    assert "does 'tls.caCert' have the authority of its certificate?" in (untrusted.error or "")
    assert "certificate" in (unknown.error or "").lower()


async def test_the_page_says_what_an_acl_has_to_allow(redis_url: str, stream: str) -> None:
    [allowed] = re.findall("`~orders` and `(.*?)`", PAGE.read_text())
    await ask(redis_url, *("ACL", "SETUSER", stream, "on", f">{PASSWORD}", f"~{stream}"))
    await ask(redis_url, "ACL", "SETUSER", stream, *allowed.split())
    await add(redis_url, stream, *numbered(1))

    async with read(redis_url, stream, user=stream, password=PASSWORD) as run:
        await run.events(1, within=SOON)
        await until(lambda: run.status.lag == 0)
        await until_acknowledged(redis_url, stream)

    assert run.status.restarts == 0


async def test_a_wrong_password_and_an_acl_that_is_too_narrow_are_said_and_not_shown(
    redis_url: str, stream: str
) -> None:
    async with read(redis_url, stream, user=USER, password="not-that-one") as run:
        wrong = await run.until("unhealthy", within=SOON)
    async with read(redis_url, stream, user=READER, password=PASSWORD) as run:
        narrow = await run.until("unhealthy", within=SOON)

    assert "are 'user' and 'password' those that it knows?" in (wrong.error or "")
    assert "not-that-one" not in (wrong.error or "")
    assert "its ACL has to allow the command" in (narrow.error or "")
