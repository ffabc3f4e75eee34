"""What is wrong with an object, told by the condition that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.errors import Problem
from broker.kubernetes.conditions import Condition

NOT_YET: Final = ("NotTakenUp", "the mesh has yet to take it up")
_NOT_JUDGED: Final = ("NotJudged", "not known while something else is wrong with the object")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A condition that problems at a ``place`` of the object are about, and why it is false then.

    ``place`` is the beginning of their paths; nothing, for all that are about no other condition.
    """

    type: str
    place: str = ""
    reason: str = "Invalid"

    def has(self, problem: Problem) -> bool:
        rest = problem.path.removeprefix(self.place)
        return not self.place or (rest != problem.path and (not rest or rest[0] in ".["))


class Wrong:
    """What is wrong with one object; false where that is nothing.

    Each problem goes to the first of ``abouts`` that has it. ``failures`` are what keeps the object
    from being run, though nothing is wrong with it: they go to the last.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        abouts: Sequence[About],
        *,
        failures: Sequence[Problem] = (),
    ) -> None:
        self._said: dict[str, Condition] = {}
        for about in abouts:
            own = [each for each in problems if about.has(each)]
            problems = [each for each in problems if each not in own]
            if own:
                self._said[about.type] = _false(about.type, about.reason, own)
        if failures and not self._said:
            self._said[abouts[-1].type] = _false(abouts[-1].type, "CannotRun", failures)

    def __bool__(self) -> bool:
        return bool(self._said)

    def said(self, type: str) -> Condition | None:
        """Return that condition where it is false for what is wrong."""
        return self._said.get(type)

    def unless(self, condition: Condition, *, known: bool = True) -> Condition:
        """Return the condition where nothing is wrong, and it is ``known`` to be so."""
        if condition.type in self._said:
            return self._said[condition.type]
        if known and not self:
            return condition
        reason, message = _NOT_JUDGED if self else NOT_YET
        return Condition(type=condition.type, status="Unknown", reason=reason, message=message)


def _false(type: str, reason: str, problems: Sequence[Problem]) -> Condition:
    message = "; ".join(map(_in_words, problems))
    return Condition(type=type, status="False", reason=reason, message=message)


def _in_words(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message
