"""How delays are made of steps, and what waits in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.channels.kafka.cursor import PutOff
from broker.channels.kafka.delays import STEPS, Delays, is_due, step, topics
from broker.codecs.kafka import Record, decode
from broker.event import Event
from broker.ports import Refusal

ACCEPTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHY = Refusal(destination="http://x/", reason="no", status=503, body=b"busy", attempts=3)


def put_off(id: str, delay: timedelta) -> PutOff:
    return PutOff(
        partition=3,
        trigger="default/audit",
        event=Event({"specversion": "1.0", "id": id, "source": "/", "type": "order"}, b"\x00"),
        accepted=ACCEPTED,
        due=datetime.now(UTC) + delay,
        attempts=2,
        condemned=WHY,
    )


@given(delay=st.timedeltas(timedelta(0), timedelta(days=2)))
def test_any_delay_is_made_of_few_steps_and_kept_to_a_quarter_of_a_second(
    delay: timedelta,
) -> None:
    start = now = datetime(2026, 1, 31, tzinfo=UTC)
    taken: list[int] = []

    while not taken or not is_due(start + delay, now):
        taken.append(step(start + delay - now))
        now += STEPS[taken[-1]]

    assert timedelta(0) <= now - (start + delay) <= STEPS[0]
    below_the_last = [number for number in taken if number < len(STEPS) - 1]
    assert len(below_the_last) <= 3 * (len(STEPS) - 1) + 1
    assert taken == sorted(taken, reverse=True)


async def test_each_delivery_goes_to_the_topic_of_its_first_step_with_all_that_it_is() -> None:
    stored: list[tuple[str, Sequence[Record]]] = []

    async def append(topic: str, records: Sequence[Record], *, partition: int) -> None:
        assert partition == 3
        stored.append((topic, records))

    first, second, third = (
        put_off("1", timedelta(seconds=70)),
        put_off("2", timedelta(milliseconds=10)),
        put_off("3", timedelta(seconds=65)),
    )
    await Delays("orders", 12, append).put_all_off([first, second, third])

    found = {topic: [decode(each.headers, each.value) for each in all_] for topic, all_ in stored}
    assert found.keys() == {"orders-delay-250ms", "orders-delay-64000ms"}
    assert [event.id for event, _ in found["orders-delay-64000ms"]] == ["1", "3"]
    event, notes = found["orders-delay-250ms"][0]
    assert (event, notes.to, notes.attempts) == (second.event, "default/audit", 2)
    assert (notes.condemned, notes.due, notes.accepted) == (WHY, second.due, ACCEPTED)


def test_every_step_has_a_topic_of_its_own() -> None:
    assert len(set(topics("knative-broker-default-default"))) == len(STEPS)
