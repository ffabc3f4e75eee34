"""Going back in a partition, on a real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from broker.channels.kafka.rereading import LogOfTrigger, Rereading
from broker.channels.trouble import Trouble
from broker.codecs.kafka import Notes, Record, encode
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import EVERYTHING, Exact
from tests.contract.batches import event, misnamed, new_topic, options, remove
from tests.services.relay import Relay

TRIGGER = "default/audit"
ORDERS = Exact((("type", "order"),))


@pytest.fixture
async def rereading(kafka: str) -> AsyncIterator[Rereading]:
    async with Rereading(options(kafka), Trouble()) as opened:
        yield opened


async def test_what_a_trigger_is_behind_with_is_what_its_filter_passes(
    kafka: str, rereading: Rereading
) -> None:
    kinds = ["order", "other", "order", "order", "other"]
    partition = await new_topic(kafka, [event(n, kind) for n, kind in enumerate(kinds)])
    log = LogOfTrigger(rereading, partition, TRIGGER)

    found, reached = await log.read(ORDERS, 0, 3)

    assert [entry.position for entry in found] == [2, 3]
    assert [entry.event.id for entry in found] == ["2", "3"]
    assert reached == 3


async def test_what_is_for_one_trigger_is_for_no_other(kafka: str, rereading: Rereading) -> None:
    plain = Event({"specversion": "1.0", "id": "x", "source": "/", "type": "other"})
    mine = encode(plain, Notes(to=TRIGGER, attempts=2))
    partition = await new_topic(kafka, [mine, encode(plain, Notes(to="default/else"))])

    found, _ = await LogOfTrigger(rereading, partition, TRIGGER).read(ORDERS, -1, 1)

    assert [(entry.position, entry.attempts) for entry in found] == [(0, 2)]


async def test_a_delivery_that_was_not_due_when_it_came_out_is_not_found_where_it_was(
    kafka: str, rereading: Rereading
) -> None:
    plain = Event({"specversion": "1.0", "id": "x", "source": "/", "type": "order"})
    now, step = datetime.now(UTC), timedelta(seconds=0.25)
    due = [now + step, now + timedelta(hours=1), now, None]
    records = [encode(plain, Notes(to=TRIGGER, due=each)) for each in due]
    partition = await new_topic(kafka, records)

    found, _ = await LogOfTrigger(rereading, partition, TRIGGER, step=step).read(ORDERS, -1, 3)

    assert [entry.position for entry in found] == [0, 2, 3]


async def test_a_long_backlog_is_read_in_pieces_that_miss_nothing(
    kafka: str, rereading: Rereading
) -> None:
    partition = await new_topic(kafka, [event(number) for number in range(2_500)])
    log = LogOfTrigger(rereading, partition, TRIGGER)
    found, reached, pieces = [], -1, 0

    while reached < 2_499:
        piece, reached = await log.read(EVERYTHING, reached, 2_499)
        found += [entry.position for entry in piece]
        pieces += 1

    assert found == list(range(2_500))
    assert pieces >= 5


async def test_open_claims_are_fetched_wherever_they_are(kafka: str, rereading: Rereading) -> None:
    partition = await new_topic(kafka, [event(number) for number in range(2_000)])

    found = await LogOfTrigger(rereading, partition, TRIGGER).fetch([1_900, 3, 4, 700])

    assert [entry.position for entry in found] == [3, 4, 700, 1_900]


async def test_what_the_retention_has_removed_is_left_out(kafka: str, rereading: Rereading) -> None:
    partition = await new_topic(kafka, [event(number) for number in range(10)])
    await remove(kafka, partition, 6)
    log = LogOfTrigger(rereading, partition, TRIGGER)

    assert [entry.position for entry in await log.fetch([2, 5, 7])] == [7]
    found, reached = await log.read(EVERYTHING, 0, 8)
    assert ([entry.position for entry in found], reached) == ([6, 7, 8], 8)
    assert await log.read(EVERYTHING, 0, 4) == ([], 4)
    assert await log.fetch([2, 3]) == []


async def test_what_is_removed_while_it_is_read_stalls_nobody(
    kafka: str, rereading: Rereading
) -> None:
    partition = await new_topic(kafka, *([event(n)] * 500 for n in range(10)))
    log = LogOfTrigger(rereading, partition, TRIGGER)
    found, reached = await log.read(EVERYTHING, -1, 4_999)

    await remove(kafka, partition, 4_990)
    while reached < 4_999:
        piece, reached = await log.read(EVERYTHING, reached, 4_999)
        found = [*found, *piece]

    positions = [entry.position for entry in found]
    assert positions == sorted(set(positions))
    assert positions[-10:] == list(range(4_990, 5_000))
    assert len(positions) < 5_000


async def test_records_that_are_no_events_are_passed_over(kafka: str, rereading: Rereading) -> None:
    foreign = Record(key=None, value=b"no event", headers=[("x", b"y")])
    partition = await new_topic(kafka, [event(0), foreign, event(2)])
    log = LogOfTrigger(rereading, partition, TRIGGER)

    found, reached = await log.read(EVERYTHING, -1, 2)

    assert ([entry.position for entry in found], reached) == ([0, 2], 2)
    assert [entry.position for entry in await log.fetch([1, 2])] == [2]


async def test_a_header_whose_name_is_not_utf8_hides_no_event_of_its_batch(
    kafka: str, rereading: Rereading
) -> None:
    partition = await new_topic(kafka, [event(0), misnamed(), event(2)])
    log = LogOfTrigger(rereading, partition, TRIGGER)

    found, reached = await log.read(EVERYTHING, -1, 2)

    assert ([entry.position for entry in found], reached) == ([0, 2], 2)
    assert [entry.position for entry in await log.fetch([0, 1, 2])] == [0, 2]


async def test_an_outage_is_told_and_over_when_kafka_is_back(
    kafka: str, kafka_relay: Relay
) -> None:
    partition = await new_topic(kafka, [event(0)])
    async with Rereading(options(kafka_relay.address), Trouble()) as rereading:
        log = LogOfTrigger(rereading, partition, TRIGGER)
        await log.read(EVERYTHING, -1, 0)
        with kafka_relay.cut():
            with pytest.raises(ChannelUnavailable, match="refused"):
                await log.read(EVERYTHING, -1, 0)
            with pytest.raises(ChannelUnavailable, match="refused"):
                await log.fetch([0])

        found, _ = await log.read(EVERYTHING, -1, 0)

    assert [entry.event.id for entry in found] == ["0"]
