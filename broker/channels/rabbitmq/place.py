"""A trigger's place in its queue: what of it this process has in hand, and its account of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Final

from broker.channels.clock import Alarm, now
from broker.channels.lines import Lines
from broker.channels.rabbitmq.delivery import Bury, Delivery, Fate, Keep, PutOff, Receipt, Settle
from broker.channels.rabbitmq.entries import Counts
from broker.channels.rabbitmq.recent import Recent
from broker.event import Event
from broker.filters import Filter
from broker.ports import Outcome, Refusal

_COMES_AGAIN_WITHIN: Final = 60_000_000
"""Microseconds within which the server has found out that a connection is lost."""


class Place:
    """What this process has in hand for one trigger.

    Every delivery is in ``in_hand`` from when it is taken in until what became of it is counted;
    in ``closing`` once that is decided.

    ``taken`` counts what was taken in and not given back or put off, ``delivered`` and ``dead``
    what became of it: each on its own, so that their difference to what is in hand tells
    whether anything was lost on the way.
    """

    def __init__(self, trigger: str, filter: Filter) -> None:
        self.trigger = trigger
        self.filter = filter
        self.taken = 0
        self.delivered = 0
        self.dead = 0
        self.ready: Counter[str] = Counter()  # what was left in each queue, as it is known last
        self.in_doubt = 0  # how many have come, but are not taken in: they may be done with
        self.in_hand: dict[int, Delivery] = {}
        self.closing: dict[int, Fate] = {}
        self.recent = Recent()
        self.latest: int | None = None  # when the event of the last message was accepted
        self.given_back: Sequence[Delivery] = ()  # what was given back when it was left
        self._lost_at = 0
        self._lost: int | None = None  # when the oldest event was accepted that was let go of
        self._by_stamp: dict[str, Delivery] = {}
        self._positions = count()
        self._wake: Callable[[], None] | None = None
        self._former: Filter | None = None
        self._changed_at = 0
        self._new: deque[Delivery] = deque()
        self._returned: deque[Delivery] = deque()
        self._out: dict[int, Delivery] = {}
        self._sleeping: dict[int, Delivery] = {}
        self._alarm = Alarm(self._ring)
        self._lines: Lines[Delivery] | None = None

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, wake: Callable[[], None], *, ordered: bool) -> None:
        """Begin to hand out, or go on with another wake and order."""
        self._wake = wake
        self.given_back = ()
        if ordered or self._lines is not None:
            self._lines = self._lines or Lines(bounded=False)
            self._lines.enter(self._begun(), strict=ordered)
        self._alarm.turn_on()

    def leave(self) -> None:
        """Hand out nothing any more."""
        self._wake = None
        self._alarm.turn_off()

    @property
    def subscribed(self) -> bool:
        return self._wake is not None

    @property
    def is_ordered(self) -> bool:
        return self._lines is not None and self._lines.strict

    def begin(self, filter: Filter) -> None:
        """Judge everything by this filter."""
        self._former, self.filter = None, filter

    def change(self, filter: Filter) -> None:
        """Judge by another filter what is accepted from now on."""
        self._former, self.filter = self.filter, filter
        self._changed_at = now()

    def is_for(self, event: Event, at: int) -> bool:
        """Return whether the event, which was accepted at ``at``, matches."""
        former = self._former if at < self._changed_at else None
        judge = self.filter if former is None else former
        return judge.matches(event.attributes)

    # --- what comes in ---------------------------------------------------------------------

    def known(self, stamp: str) -> Delivery | None:
        """Return the delivery in hand that has the stamp."""
        return self._by_stamp.get(stamp)

    def put(
        self,
        event: Event,
        *,
        stamp: str | None,
        at: int,
        receipt: Receipt,
        queue: str,
        attempts: int = 0,
        condemned: Refusal | None = None,
        due: int = 0,
        fate: Fate | None = None,
    ) -> Delivery:
        """Take a delivery in, to be handed out when it is due, unless its fate is known."""
        delivery = Delivery(
            position=next(self._positions),
            stamp=stamp,
            at=at,
            event=event,
            receipt=receipt,
            queue=queue,
            attempts=attempts,
            condemned=condemned,
            due=due,
        )
        self.taken += 1
        self.in_hand[delivery.position] = delivery
        if stamp is not None:
            self._by_stamp[stamp] = delivery
        if fate is not None:
            self.closing[delivery.position] = fate
        elif due > now() and not self.is_ordered:
            self._sleep(delivery)
        else:
            self._new.append(delivery)
            self._stir()
        return delivery

    # --- claims ----------------------------------------------------------------------------

    def claim(self) -> Delivery | None:
        """Return what is to be delivered next, or None where there is nothing."""
        delivery = self._returned.popleft() if self._returned else self._next()
        if delivery is not None:
            self._out[delivery.position] = delivery
        return delivery

    def release(self, position: int) -> None:
        """Let a claim come again at once."""
        delivery = self._out.pop(position)
        if delivery.receipt is None:  # whoever the server gives it to has it
            self._forget(delivery)
            self._end(delivery)
            return
        self._returned.appendleft(delivery)
        self._stir()

    def keep(self, position: int, due: int, attempts: int, condemned: Refusal | None) -> Delivery:
        """Let a claim come again at ``due``; it keeps its turn."""
        delivery = self._out.pop(position)
        delivery.due, delivery.attempts, delivery.condemned = due, attempts, condemned
        if delivery.receipt is None:
            self.closing[position] = Keep()
        else:
            self._sleep(delivery)
        return delivery

    def open(self, delivery: Delivery) -> None:
        """Let a delivery that was kept while its connection was lost wait for its time."""
        del self.closing[delivery.position]
        self._sleep(delivery)

    def close(self, position: int, fate: Fate) -> Delivery:
        """Take a claim out, as what is to become of it is decided."""
        delivery = self._out.pop(position)
        self.closing[position] = fate
        self._end(delivery)
        return delivery

    def closed(self, delivery: Delivery) -> None:
        """Count what became of a delivery: that is stored now."""
        fate = self.closing.pop(delivery.position)
        match fate:
            case Settle(Outcome.DELIVERED):
                self.delivered += 1
            case Settle() | Bury():
                self.dead += 1
            case PutOff() | Keep():  # which others will have
                self.taken -= 1
        self._drop(delivery)
        if delivery.stamp is not None:
            self.recent.add(delivery.stamp)

    # --- what goes back --------------------------------------------------------------------

    def give_back(self, queue: str | None = None) -> list[Delivery]:
        """Let go of everything from that queue that is neither claimed nor decided.

        Returns it, in the order in which it came. None stands for all queues.
        """
        unclaimed = [
            delivery
            for position, delivery in self.in_hand.items()
            if position not in self._out and position not in self.closing
        ]
        gone = [each for each in unclaimed if queue in (None, each.queue)]
        for delivery in gone:
            self._sleeping.pop(delivery.position, None)
            self._forget(delivery)
        kept = [each for each in unclaimed if each.position in self.in_hand]
        self._returned = deque(each for each in kept if each in self._returned)
        begun = {*self._returned, *self._sleeping.values()}
        self._new = deque(each for each in kept if each not in begun)
        if self._lines is not None:
            strict = self._lines.strict
            self._lines = Lines(bounded=False)
            self._lines.enter(self._begun(), strict=strict)
        return gone

    def lose(self, queue: str) -> int:
        """Note that the messages from that queue are the server's again.

        What is claimed or decided stays in hand, until it comes again or others have it. Returns
        how many were let go of.
        """
        self._lost_at = now()
        gone = self.give_back(queue)
        self._lost = min((each.at for each in gone), default=self._lost)
        for delivery in self.in_hand.values():
            if delivery.queue == queue:
                delivery.receipt = None
        return len(gone)

    def lost(self) -> Sequence[Delivery]:
        """Return what was decided here, and is the server's again."""
        decided = [self.in_hand[position] for position in self.closing] if self._lost_at else []
        return [each for each in decided if each.receipt is None]

    def wait_on(self) -> None:
        """Note that the server is out, so that nothing has come again to anybody."""
        if self._lost_at:
            self._lost_at = now()

    def counted_elsewhere(self, stamps: Iterable[str]) -> None:
        """Note that others have counted these messages."""
        for stamp in stamps if self._lost_at else ():
            delivery = self._by_stamp.get(stamp)
            if delivery is not None and delivery.receipt is None:
                delivery.is_counted = True

    def let_go(self, is_settled: Callable[[str], bool]) -> None:
        """Let go of what was decided here, but is with others: their connection was not lost.

        That is so of what they have settled, and of what has not come again for a minute.
        """
        is_late = now() - self._lost_at > _COMES_AGAIN_WITHIN
        for delivery in self.lost():
            if is_late or delivery.is_counted or is_settled(delivery.stamp or ""):
                fate = self.closing.pop(delivery.position)
                self._forget(delivery)
                if isinstance(fate, Keep):
                    self._end(delivery)

    # --- the account -----------------------------------------------------------------------

    def counts(self, fates: Iterable[Fate]) -> Counts:
        """Return the account as it is once deliveries with these fates are closed, too."""
        delivered, dead, put_off = self.delivered, self.dead, 0
        for fate in fates:
            match fate:
                case Settle(Outcome.DELIVERED):
                    delivered += 1
                case Settle() | Bury():
                    dead += 1
                case PutOff():
                    put_off += 1
                case Keep():
                    pass
        closed = delivered - self.delivered + dead - self.dead + put_off
        return Counts(
            delivered=delivered,
            dead_lettered=dead,
            taken=self.taken - put_off,
            in_hand=len(self.in_hand) - closed,
            floor=self.floor,
        )

    def account(self) -> Counts:
        """Return the account with all that is decided."""
        decided = [each for each in self.closing.values() if not isinstance(each, PutOff)]
        return self.counts(decided)

    @property
    def left(self) -> int:
        """How many are left in the queues, or as good as there, as far as is known."""
        return self.ready.total() + self.in_doubt

    @property
    def oldest(self) -> int | None:
        """When the oldest event was accepted that is in hand, or was when the connection was lost.

        In microseconds since 1970.
        """
        oldest = min((each.at for each in self.in_hand.values()), default=None)
        return self._lost if oldest is None and self.left else oldest

    @property
    def floor(self) -> int | None:
        """Up to when everything that was accepted has been received, or None if nothing was.

        What was given back when the place was left, has not been.
        """
        first = next(iter(self.in_hand.values()), None)
        here = self.latest if first is None else first.at
        floors = [*(each.at for each in self.given_back), *([] if here is None else [here])]
        return min(floors, default=None)

    # --- inside ----------------------------------------------------------------------------

    def _next(self) -> Delivery | None:
        if self._lines is None:
            return self._new.popleft() if self._new else None
        delivery = self._lines.next()
        while delivery is None and self._new:
            new = self._new.popleft()
            if not self._lines.admit(new):
                continue
            if new.due > now():
                self._sleep(new)
            else:
                delivery = new
        return delivery

    def _sleep(self, delivery: Delivery) -> None:
        self._sleeping[delivery.position] = delivery
        self._alarm.put(delivery.position, delivery.due)

    def _ring(self) -> None:
        for position in self._alarm.take_due():
            delivery = self._sleeping.pop(position, None)
            if delivery is not None:
                self._returned.append(delivery)
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None:
            self._wake()

    def _begun(self) -> Iterator[Delivery]:
        yield from self._returned
        yield from self._out.values()
        yield from self._sleeping.values()
        for position, fate in self.closing.items():
            if isinstance(fate, Keep):
                yield self.in_hand[position]

    def _end(self, delivery: Delivery) -> None:
        if self._lines is not None:
            self._lines.end(delivery)
            self._stir()

    def _forget(self, delivery: Delivery) -> None:
        self.taken -= 1
        self._drop(delivery)

    def _drop(self, delivery: Delivery) -> None:
        del self.in_hand[delivery.position]
        if delivery.stamp is not None:
            del self._by_stamp[delivery.stamp]
