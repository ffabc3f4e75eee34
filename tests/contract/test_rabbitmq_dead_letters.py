"""The dead-letter store of a broker on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.publishing import Outgoing
from broker.codecs.amqp import Message, encode
from broker.codecs.notes import Notes
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Refusal
from tests.contract.rabbitmq import SOON, STREAMS, has_written_down, until
from tests.contract.test_rabbitmq_streams import NAME, Process, delete, process
from tests.services.rabbitmq.server import RabbitMQServer
from tests.services.relay import Relay

A, B = "default/a", "default/b"

WHY = Refusal(
    destination="http://a/", reason="answered 500", status=500, body=b"\xff\x00", attempts=3
)


def event(id: str, data: bytes | None = None) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/test", "type": "order"}, data)


@asynccontextmanager
async def dead_letters(url: str) -> AsyncIterator[RabbitmqDeadLetters]:
    async with process(url) as opened, store_of(opened) as store:
        yield store


def store_of(process: Process) -> RabbitmqDeadLetters:
    return RabbitmqDeadLetters(process.link, process.publishing, NAME, process.stamps)


async def bury(store: RabbitmqDeadLetters, *ids: str, trigger: str = A) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in ids:
            tasks.create_task(store.bury(trigger, event(each), WHY, delivery=str(uuid4())))


async def buried(
    store: RabbitmqDeadLetters,
    trigger: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Sequence[str]:
    letters = await store.list(trigger=trigger, after=after, limit=limit)
    return [letter.event.id for letter in letters]


async def test_a_dead_letter_has_its_event_as_it_was_and_why_it_was_given_up(rabbitmq: str) -> None:
    attributes = {**event("1").attributes, "flag": "true", "partitionkey": "ü"}
    whole = Event(attributes, b'{"a": 1,  "a": 2}', {"flag": "boolean"}, hops=3)
    longer = replace(WHY, reason="x" * 5_000, status=None, body=b"y" * 1_024)
    async with dead_letters(rabbitmq) as store:
        await store.bury(A, whole, WHY, delivery="1")
        await store.bury(A, event("2", None), WHY, delivery="2")
        await store.bury("", event("3", b""), longer, delivery="3")

    async with dead_letters(rabbitmq) as store:
        first, second, third = await store.list()

    assert first.event == whole
    assert (first.trigger, first.why) == (A, WHY)
    assert abs(datetime.now(UTC) - first.buried_at) < timedelta(seconds=SOON)
    assert (second.event.data, third.event.data) == (None, b"")
    assert (third.trigger, third.why) == ("", replace(longer, reason="x" * 2_047 + "…"))


async def test_dead_letters_are_listed_in_pages_oldest_first(rabbitmq: str) -> None:
    async with dead_letters(rabbitmq) as store:
        assert await store.list() == []
        for number in range(5):
            await bury(store, f"a{number}", trigger=A)
            await bury(store, f"b{number}", trigger=B)

        page = await store.list(trigger=B, limit=2)
        rest = await store.list(trigger=B, after=page[-1].id)

        assert [letter.event.id for letter in page] == ["b0", "b1"]
        assert [letter.event.id for letter in rest] == ["b2", "b3", "b4"]
        assert await buried(store, after=rest[0].id, limit=3) == ["a3", "b3", "a4"]
        assert await buried(store, trigger="default/none") == []
        assert await buried(store, trigger="default") == []
        assert await buried(store, after="nonsense") == await buried(store)
        assert await buried(store, limit=0) == []
        ids = [letter.id for letter in await store.list()]
        assert ids == sorted(ids)
        assert len({*map(len, ids)}) == 1


async def test_what_one_process_buries_and_removes_another_sees_at_once(rabbitmq: str) -> None:
    async with dead_letters(rabbitmq) as one, dead_letters(rabbitmq) as other:
        assert await other.list() == []
        for number in range(3):
            await bury(one, f"{number}")
            assert len(await other.list()) == number + 1
        first, second, third = await other.list()

        assert await other.get(second.id) == second
        assert await one.remove([first.id, third.id, first.id, "nonsense", "0" * 15 + "9"]) == 2

        assert await other.list() == await one.list() == [second]
        assert await other.get(first.id) is await one.get(first.id) is None
        assert await other.get("nonsense") is await other.get("9" * 16) is None
        assert await other.remove([first.id]) == await other.remove([]) == 0

    async with dead_letters(rabbitmq) as later:
        assert await later.list() == [second]


async def test_of_several_that_remove_a_letter_at_the_same_time_one_has_removed_it(
    rabbitmq: str,
) -> None:
    async with dead_letters(rabbitmq) as one, dead_letters(rabbitmq) as other:
        await bury(one, *map(str, range(10)))
        ids = [letter.id for letter in await one.list()]
        await other.list()

        removed = await asyncio.gather(
            one.remove(ids[:7]), other.remove(ids[3:]), one.remove(ids[5:9]), other.remove(ids[:1])
        )

        assert sum(removed) == 10
        assert await one.list() == await other.list() == []


async def test_a_delivery_that_is_buried_again_is_there_once(rabbitmq: str) -> None:
    async with dead_letters(rabbitmq) as store, dead_letters(rabbitmq) as other:
        for trigger, delivery in ((A, "7"), (B, "7"), (A, "8"), (A, "7")):
            await store.bury(trigger, event(delivery), WHY, delivery=delivery)

        found = await store.list()
        assert [(letter.trigger, letter.event.id) for letter in found] == [
            (A, "7"), (B, "7"), (A, "8"),
        ]  # fmt: skip
        assert await other.list() == found
        assert await store.remove([found[0].id]) == 1
        assert await buried(other) == ["7", "8"]

        await store.bury(A, event("again"), WHY, delivery="7")
        assert await buried(store) == await buried(other) == ["7", "8", "again"]


async def test_letters_that_are_far_apart_are_found_as_well(rabbitmq: str) -> None:
    async with dead_letters(rabbitmq) as store:
        for number in range(4):
            await bury(store, f"a{number}", trigger=A)
            await bury(store, *(f"{number}/{each}" for each in range(70)), trigger=B)

        assert await buried(store, trigger=A) == ["a0", "a1", "a2", "a3"]
        assert len(set(await buried(store, trigger=B, limit=1_000))) == 280


async def test_an_event_of_several_frames_can_be_buried(rabbitmq: str) -> None:
    large = event("1", bytes(range(256)) * 4_096)
    async with dead_letters(rabbitmq) as store:
        await store.bury(A, large, replace(WHY, body=b"y" * 1_024), delivery="1")

        [letter] = await store.list()

    assert letter.event == large


async def test_a_message_that_is_no_dead_letter_hides_no_other(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    of_others = [
        Message(body=b"?", headers={}, content_type=None),
        Message(body=b"?", headers={"cemesh-removed": "true"}, content_type=None),
        Message(body=b'["0"]', headers={"cemesh-removed": "true"}, content_type=None),
        Message(body=b"[-1, 99]", headers={"cemesh-removed": "true"}, content_type=None),
        encode(event("not said why"), Notes(to=A)),
        encode(event("not said of which"), Notes(condemned=WHY)),
    ]
    async with process(rabbitmq) as opened, store_of(opened) as store:
        await bury(store, "1")
        await opened.publishing.publish(
            [
                Outgoing(message=message, stamp=opened.stamps.new(), routing_key=NAME)
                for message in of_others
            ]
        )
        letter = encode(event("not said when"), Notes(to=A, condemned=WHY))
        await opened.publishing.publish([Outgoing(message=letter, stamp="x", routing_key=NAME)])
        await bury(store, "2")

        assert await buried(store) == await buried(store) == ["1", "2"]

    told = [record for record in caplog.records if record.message == "dead letter not readable"]
    assert [record.offset for record in told] == [1, 2, 3, 5, 6, 7]  # type: ignore[attr-defined]


async def test_an_outage_is_told_and_over_when_rabbitmq_is_back(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    async with (
        process(rabbitmq_relay.in_url(rabbitmq)) as opened,
        store_of(opened) as one,
        dead_letters(rabbitmq) as other,
    ):
        await bury(other, "1")
        [letter] = await one.list()
        with rabbitmq_relay.cut():
            await until(lambda: opened.link.trouble and opened.publishing.is_out)
            for ask in (
                one.list(),
                one.get(letter.id),
                one.remove([letter.id]),
                one.bury(A, event("2"), WHY, delivery="2"),
            ):
                with pytest.raises(ChannelUnavailable):
                    await ask
            await other.remove([letter.id])
            await bury(other, "3")

        await until(lambda: not (opened.link.trouble or opened.publishing.is_out))
        assert await buried(one) == ["3"]
        assert await one.get(letter.id) is None


@pytest.mark.timeout(180)
async def test_what_was_buried_and_removed_is_so_after_a_crash_of_the_server(
    rabbitmq_server: RabbitMQServer,
) -> None:
    with rabbitmq_server:
        url = rabbitmq_server.listeners.url()
        async with process(url) as opened, store_of(opened) as store:
            await bury(store, *map(str, range(200)))
            letters = await store.list(limit=200)
            await store.remove([letter.id for letter in letters[:150]])
            await until(lambda: has_written_down(rabbitmq_server, STREAMS))
            await asyncio.to_thread(rabbitmq_server.kill)
            await asyncio.to_thread(rabbitmq_server.start)
            await again(lambda: store.bury(A, event("new"), WHY, delivery="new"))

            [*kept, new] = await store.list()
            assert kept == letters[150:]
            assert (new.event.id, new.id > kept[-1].id) == ("new", True)
            async with dead_letters(url) as later:
                assert await later.list() == [*kept, new]


async def again(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask, again and again until that is possible."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await ask()
            except ChannelUnavailable:
                await asyncio.sleep(0.1)


async def test_a_stream_that_somebody_deletes_is_made_anew(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(rabbitmq) as opened, store_of(opened) as store:
        await bury(store, "1", "2")
        assert len(await store.list()) == 2
        await delete(opened)

        await bury(store, "3")

        assert await buried(store) == ["3"]
    assert "dead letters are gone" in caplog.messages


async def test_thousands_of_letters_are_listed_and_removed(rabbitmq: str) -> None:
    async with dead_letters(rabbitmq) as store, dead_letters(rabbitmq) as other:
        await bury(store, *map(str, range(3_000)))

        ids: list[str] = []
        while page := await other.list(after=ids[-1] if ids else None, limit=700):
            ids += [letter.id for letter in page]

        assert len(set(ids)) == 3_000
        assert await other.remove(ids[1:]) == 2_999
        assert [letter.id for letter in await store.list()] == ids[:1]
