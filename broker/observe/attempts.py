"""What became of the attempts of this process, and how long that took from when events came."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, get_args

from broker.observe.durations import Durations
from broker.observe.families import ATTEMPT, ATTEMPTS, CHANNEL, END_TO_END, GIVEN_UP
from broker.observe.family import AttemptOutcome, To
from broker.ports import Attempt, Buried, Outcome, Refused, Settled, Step, Verdict
from broker.status import Counts, Series, Tally

_DELIVERED: Final[AttemptOutcome] = "delivered"


class _At:
    """The attempts of one trigger at its subscriber, or at its dead-letter sink.

    All outcomes are there from the start, so that none begins at 1.
    """

    __slots__ = ("outcomes", "seconds")

    def __init__(self) -> None:
        self.outcomes: dict[AttemptOutcome, int] = dict.fromkeys(get_args(AttemptOutcome), 0)
        self.seconds = Durations()


class _OfTrigger:
    """What is counted of one trigger."""

    __slots__ = ("at", "channel", "end_to_end", "given_up", "subscriber")

    def __init__(self) -> None:
        self.subscriber = _At()
        self.at: dict[To, _At] = {"subscriber": self.subscriber}
        self.channel = Durations()
        self.end_to_end = Durations()
        self.given_up: dict[To, int] = {"dead-letter sink": 0, "store": 0}

    def count(self, attempt: Attempt) -> None:
        """Count an attempt: one microsecond on the way of every event."""
        if attempt.to != "subscriber":
            letters = self.at.setdefault(attempt.to, _At())
            letters.outcomes[_outcome(attempt)] += 1
            letters.seconds.add(attempt.seconds)
            return
        outcome = _DELIVERED if attempt.verdict is Verdict.DELIVERED else _outcome(attempt)
        self.subscriber.outcomes[outcome] += 1
        if outcome == "untried":
            return
        seconds = attempt.seconds
        self.subscriber.seconds.add(seconds)
        if outcome is not _DELIVERED and attempt.number > 1:
            return
        # The clock of another machine may have told when the event was accepted.
        waited = max(0.0, attempt.began - attempt.accepted_at.timestamp())
        if attempt.number == 1:
            self.channel.add(waited)
        if outcome is _DELIVERED:
            self.end_to_end.add(waited + seconds)


def _outcome(attempt: Attempt) -> AttemptOutcome:
    match attempt.verdict:
        case Verdict.DELIVERED:
            return "delivered"
        case Verdict.GIVE_UP:
            return "refused"
    if attempt.exhausted:
        return "exhausted"
    answer = attempt.answer
    return "untried" if isinstance(answer, Refused) and answer.untried else "retry"


class Attempts:
    """Counts attempts, and events that are given up, by trigger."""

    def __init__(self) -> None:
        self._triggers: dict[str, _OfTrigger] = {}

    def attempted(self, attempt: Attempt) -> None:
        """Count one attempt, what it came to, and how long it took."""
        self._of(attempt.trigger).count(attempt)

    def decided(self, trigger: str, step: Step) -> None:
        """Count an event that is given up."""
        match step:
            case Buried():
                self._of(trigger).given_up["store"] += 1
            case Settled(outcome=Outcome.DEAD_LETTERED):
                self._of(trigger).given_up["dead-letter sink"] += 1

    def _of(self, trigger: str) -> _OfTrigger:
        counted = self._triggers.get(trigger)
        if counted is None:
            counted = self._triggers[trigger] = _OfTrigger()
        return counted

    def forget_all_but(self, triggers: Collection[str]) -> None:
        """Drop what is counted of triggers that are gone, or it would pile up."""
        for trigger in [each for each in self._triggers if each not in triggers]:
            del self._triggers[trigger]

    def counted(self) -> Counts:
        """Return what has been counted until now."""
        counters: dict[Series, int] = {}
        durations: dict[Series, Tally] = {}
        for trigger, counted in self._triggers.items():
            durations[CHANNEL.name, (trigger,)] = counted.channel.tally
            durations[END_TO_END.name, (trigger,)] = counted.end_to_end.tally
            for to, at in counted.at.items():
                durations[ATTEMPT.name, (trigger, to)] = at.seconds.tally
                for outcome, count in at.outcomes.items():
                    counters[ATTEMPTS.name, (trigger, to, outcome)] = count
            for to, count in counted.given_up.items():
                counters[GIVEN_UP.name, (trigger, to)] = count
        return Counts(counters=counters, durations=durations)
