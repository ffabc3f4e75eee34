"""The account of a place on RabbitMQ, over whatever happens to its deliveries and connections."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from broker.channels.clock import now
from broker.channels.rabbitmq import place
from broker.channels.rabbitmq.delivery import Bury, Delivery, Fate, Keep, PutOff, Receipt, Settle
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.stamps import Stamps
from broker.event import Event
from broker.filters import EVERYTHING
from broker.ports import Outcome, Refusal

QUEUE = "t.default.default:audit"
WHY = Refusal(destination="http://nowhere/", reason="500", status=500, body=b"", attempts=3)

FATES: Sequence[Fate] = (
    Settle(Outcome.DELIVERED),
    Settle(Outcome.DEAD_LETTERED),
    PutOff(0, 1, None),
    Bury(WHY),
)


class Session:
    """A connection that takes acks."""

    def ack(self, tags: Sequence[int]) -> None: ...

    async def sync(self) -> None: ...


class Places(RuleBasedStateMachine):
    """A place, the queue that it is fed from, and what everybody else has of that."""

    claims: Bundle[Delivery] = Bundle("claims")
    decided: Bundle[Delivery] = Bundle("decided")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = Place("default/audit", EVERYTHING)
        self.place.enter(lambda: None, ordered=False)
        self.stamps = Stamps()
        self.session = Session()
        self.keys: dict[str, str] = {}
        self.on_server: list[str] = []  # to be delivered, in order
        self.always_ordered = True
        self.done: Counter[str] = Counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let what is due come back after what is done inside."""
        events._set_running_loop(self.loop)
        try:
            yield
        finally:
            events._set_running_loop(None)
        self.loop.run_until_complete(asyncio.sleep(0))

    def teardown(self) -> None:
        self.place.leave()
        self.loop.close()

    def receive(self, stamp: str) -> None:
        """Take a message in as `Receiving` does."""
        receipt = Receipt(self.session, 1)
        known = self.place.known(stamp)
        if known is not None:
            known.receipt = receipt
            if isinstance(self.place.closing.get(known.position), Keep):
                self.place.open(known)
        elif stamp not in self.place.recent:
            key = self.keys[stamp]
            attributes = {"specversion": "1.0", "id": stamp, "source": "/", "type": "t"}
            event = Event(attributes | ({"partitionkey": key} if key else {}), None)
            self.place.put(event, stamp=stamp, at=1, receipt=receipt, queue=QUEUE)

    @initialize(ordered=st.booleans())
    def subscribe(self, ordered: bool) -> None:
        self.subscribe_again(ordered)

    @rule(keys=st.lists(st.sampled_from(["a", "a", "b", ""]), min_size=1, max_size=4))
    def publish(self, keys: Sequence[str]) -> None:
        for key in keys:
            stamp = self.stamps.new()
            self.keys[stamp] = key
            self.on_server.append(stamp)

    @precondition(lambda self: self.on_server)
    @rule(count=st.integers(1, 10))
    def deliver(self, count: int) -> None:
        with self.running():
            for stamp in self.on_server[:count]:
                self.receive(stamp)
        del self.on_server[:count]

    @rule(target=claims, count=st.integers(1, 4))
    def claim(self, count: int) -> MultipleResults[Delivery]:
        claimed = [self.place.claim() for _ in range(count)]
        for delivery in claimed:
            self.is_claimed_in_turn(delivery)
        return multiple(*(each for each in claimed if each is not None))

    def is_claimed_in_turn(self, delivery: Delivery | None) -> None:
        if delivery is None:
            return
        assert self.place.in_hand[delivery.position] is delivery
        key = delivery.event.attributes.get("partitionkey")
        if self.always_ordered and key is not None:  # else what was claimed before has no order
            of_key = [
                each
                for each in self.place.in_hand.values()
                if each.event.attributes.get("partitionkey") == key
                and each.position not in self.place.closing
            ]
            assert delivery.position == min(each.position for each in of_key)

    @rule(target=decided, claim=consumes(claims), fate=st.sampled_from(FATES))
    def close(self, claim: Delivery, fate: Fate) -> Delivery:
        return self.place.close(claim.position, fate)

    @rule(claim=consumes(claims))
    def release(self, claim: Delivery) -> None:
        self.place.release(claim.position)

    @precondition(lambda self: self.place.is_ordered)
    @rule(claim=consumes(claims))
    def keep(self, claim: Delivery) -> None:
        with self.running():
            self.place.keep(claim.position, now(), 1, None)

    @rule(delivery=consumes(decided))
    def count(self, delivery: Delivery) -> None:
        if delivery.receipt is not None and delivery.position in self.place.closing:
            assert delivery.stamp is not None
            self.done[delivery.stamp] += 1
            self.place.closed(delivery)

    @rule(delivery=consumes(decided))
    def count_what_was_stored_though_it_was_not_confirmed(self, delivery: Delivery) -> None:
        if delivery in self.place.lost():
            assert delivery.stamp is not None
            self.done[delivery.stamp] += 1
            self.place.closed(delivery)

    @rule()
    def lose_the_connection(self) -> None:
        unsettled = [each.stamp or "" for each in self.place.in_hand.values()]
        self.place.lose(QUEUE)
        self.session = Session()
        self.on_server = [*unsettled, *self.on_server]

    @rule(ordered=st.booleans())
    def subscribe_again(self, ordered: bool) -> None:
        self.always_ordered &= ordered
        with self.running():
            self.place.enter(lambda: None, ordered=ordered)

    @rule()
    def others_settle_what_is_theirs_now(self) -> None:
        theirs = set(self.on_server)
        self.place.let_go(theirs.__contains__)

    @invariant()
    def nothing_is_unaccounted_for(self) -> None:
        place = self.place
        assert place.taken == place.delivered + place.dead + len(place.in_hand)
        decided = place.account()
        assert decided.taken == decided.delivered + decided.dead_lettered + decided.in_hand

    @invariant()
    def everything_is_somewhere_and_counted_once(self) -> None:
        in_hand = {each.stamp for each in self.place.in_hand.values()}
        for stamp in self.keys:
            assert stamp in in_hand or stamp in self.on_server or self.done[stamp]
            assert self.done[stamp] <= 1


TestPlaces = Places.TestCase
TestPlaces.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


def test_what_keeps_its_turn_holds_its_key_up_over_one_loss_of_the_connection_after_another() -> (
    None
):
    places = Places()
    places.subscribe(ordered=True)
    places.publish(keys=["a", "a"])
    places.deliver(count=1)
    first = places.place.claim()
    assert first is not None
    places.lose_the_connection()
    places.keep(first)
    places.lose_the_connection()

    places.deliver(count=3)

    assert places.place.claim() is first
    assert places.place.claim() is None
    places.teardown()


def test_what_was_decided_is_let_go_of_a_minute_after_the_server_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = now()
    monkeypatch.setattr(place, "now", lambda: clock)
    places = Places()
    places.publish(keys=["a"])
    places.deliver(count=1)
    claim = places.place.claim()
    assert claim is not None
    places.lose_the_connection()
    places.close(claim, Settle(Outcome.DELIVERED))
    for seconds, is_kept in ((100, True), (59, True), (2, False)):
        clock += seconds * 1_000_000
        if seconds == 100:
            places.place.wait_on()

        places.place.let_go(lambda _: False)

        assert (claim in places.place.lost()) is is_kept
    places.teardown()
