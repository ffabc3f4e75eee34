"""The gate's bookkeeping, against a clock of its own and all orders of what can happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.event import Event
from broker.policy import Breaker, Limits, Rate
from broker.ports import Accepted, Answer, Claim, Refusal, Refused
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.admission import Admission

WHY = Refusal(destination="http://a/", reason="400 Bad Request", status=400, body=b"", attempts=1)
ROUNDED = 1e-6

ANSWERS = st.one_of(
    st.just(Accepted()),
    st.builds(Refused, reason=st.just("oh"), status=st.sampled_from([None, 400, 500, 503])),
    st.builds(
        Refused,
        reason=st.just("wait"),
        status=st.sampled_from([429, 503]),
        retry_after=st.integers(0, 100).map(lambda seconds: timedelta(seconds=seconds)),
    ),
)
LIMITS = st.builds(
    Limits,
    rate=st.none() | st.builds(Rate, per_second=st.floats(0.1, 100), burst=st.integers(1, 5)),
    bytes_in_flight=st.none() | st.integers(1, 100),
)
BREAKERS = st.none() | st.builds(
    Breaker,
    failures=st.integers(1, 4),
    pause=st.just(timedelta(seconds=5)),
    max_pause=st.just(timedelta(seconds=30)),
)


class Admitting(RuleBasedStateMachine):
    """One trigger. ``begun`` has when the attempts at the subscriber began."""

    @initialize(limits=LIMITS, breaker=BREAKERS, parallelism=st.integers(1, 8))
    def set_up(self, limits: Limits, breaker: Breaker | None, parallelism: int) -> None:
        self.limits = limits
        self.breaker = breaker
        self.now = 1_000.0
        self.held_until = 0.0
        self.paused = False
        self.begun: list[float] = []
        self.under_way: list[Claim] = []
        self.answered: set[Claim] = set()
        policy = DeliveryPolicy(
            limits=limits, breaker=breaker, retry_after_max=timedelta(seconds=60)
        )
        trigger = Trigger(
            key="default/orders",
            broker="default/default",
            subscriber=Target(url="http://nowhere.test/"),
            delivery=policy,
            parallelism=parallelism,
        )
        self.admission = Admission(trigger, share=lambda: 1.0)

    # --- what can happen -------------------------------------------------------------------

    @rule(size=st.integers(0, 120), condemned=st.booleans())
    def begin(self, size: int, condemned: bool) -> None:
        claim = claim_of(size, WHY if condemned else None)
        if self.admission.ready_at(claim) > self.now:
            assert not self.admission.is_free
            return
        phase = self.admission.state(self.now).phase
        probes = [each for each in self.at_the_subscriber() if each not in self.answered]
        self.admission.begin(claim, self.now)
        self.under_way.append(claim)
        if condemned:
            return
        assert not self.paused
        assert self.now >= self.held_until
        assert phase != "paused"
        if phase == "probing":
            assert not [each for each in probes if each in self.since_it_opened]
            self.since_it_opened.add(claim)
        self.begun.append(self.now)

    @precondition(lambda self: self.under_way)
    @rule(answer=ANSWERS, data=st.data())
    def hear(self, answer: Answer, data: st.DataObject) -> None:
        unheard = [each for each in self.at_the_subscriber() if each not in self.answered]
        if not unheard:
            return
        claim = data.draw(st.sampled_from(unheard))
        was_open = self.is_open()
        changed = self.admission.heard(claim, answer, self.now)
        self.answered.add(claim)
        if isinstance(answer, Refused) and answer.retry_after is not None:
            seconds = min(answer.retry_after.total_seconds(), 60.0)
            self.held_until = max(self.held_until, self.now + seconds)
        if self.is_open() and not was_open:
            self.since_it_opened.clear()
        assert changed or isinstance(answer, Accepted)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(claim)
        self.since_it_opened.discard(claim)
        self.admission.end(claim)

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.admission.weigh(self.now)

    @rule()
    def pause(self) -> None:
        self.admission.pause("somebody says so", self.now)
        self.paused = True

    @rule()
    def resume(self) -> None:
        self.admission.resume(self.now)
        self.paused, self.held_until = False, 0.0

    # --- what holds ------------------------------------------------------------------------

    @invariant()
    def the_rate_is_kept(self) -> None:
        rate = self.limits.rate
        if rate is not None:
            for number, first in enumerate(self.begun):
                many = len(self.begun) - number
                assert many <= rate.burst + rate.per_second * (self.now - first) + ROUNDED

    @invariant()
    def the_bytes_are_bounded_unless_one_goes_alone(self) -> None:
        most = self.limits.bytes_in_flight
        sizes = [len(each.event.data or b"") for each in self.under_way]
        assert most is None or sum(sizes) <= most or len([each for each in sizes if each]) == 1

    @invariant()
    def once_all_is_over_and_it_is_late_enough_the_next_may_begin(self) -> None:
        if not self.under_way and not self.paused:
            at = self.admission.ready_at(claim_of(1000, None))
            assert at < float("inf")
            assert self.admission.changes_at(self.now) >= self.now

    @invariant()
    def the_state_says_whether_something_keeps_attempts_from_beginning(self) -> None:
        state = self.admission.state(self.now)
        if self.paused:
            assert (state.phase, state.until) == ("paused", None)
        elif self.now < self.held_until:
            assert state.phase in ("held", "paused")
            assert state.until is not None
        if self.breaker is None:
            assert state.phase not in ("probing", "recovering")

    # --- inside ----------------------------------------------------------------------------

    def __init__(self) -> None:
        super().__init__()
        self.since_it_opened: set[Claim] = set()

    def at_the_subscriber(self) -> list[Claim]:
        return [each for each in self.under_way if each.condemned is None]

    def is_open(self) -> bool:
        return self.admission.state(self.now).phase in ("paused", "probing") and not self.paused


def claim_of(size: int, condemned: Refusal | None) -> Claim:
    return Claim(
        event=Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, bytes(size)),
        attempts=0,
        condemned=condemned,
        accepted_at=datetime.now(UTC),
        position=None,
    )


TestAdmitting = Admitting.TestCase
TestAdmitting.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
