"""Says why an event does not pass: the smallest parts of the expression that kept it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker.cesql.compile import Attributes, cast_to, compiled
from broker.cesql.tree import Combine, Node, Not, Value, names, operands
from broker.cesql.values import EvaluationError, Failed, shown

Outcome = bool | EvaluationError


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One part of an expression that kept an event out.

    ``column``  where the part begins in the expression, in characters, from 1.
    ``text``    the part as it is written.
    ``reason``  for people: the values that it looked at, or what went wrong.
    """

    column: int
    text: str
    reason: str


def shortfalls(tree: Node, text: str, attributes: Attributes) -> tuple[Shortfall, ...]:
    """Return what kept an event with these attributes out; nothing if it passes."""
    walk = _Walk(text, attributes)
    try:
        value = compiled(tree)(attributes)
    except Failed:
        return tuple(walk.against(tree, wanted=True))
    if isinstance(value, bool):
        return tuple(walk.against(tree, wanted=True))
    kind = "string" if isinstance(value, str) else "integer"
    return (walk.part(tree, f"the result is the {kind} {shown(value)}, not true"),)


class _Walk:
    def __init__(self, text: str, attributes: Attributes) -> None:
        self._text = text
        self._attributes = attributes

    def part(self, node: Node, reason: str) -> Shortfall:
        start, end = node.span.start, node.span.end
        return Shortfall(column=start + 1, text=self._text[start:end], reason=reason)

    def against(self, node: Node, *, wanted: bool) -> Iterator[Shortfall]:
        """Yield what keeps the node from being what is wanted: true, or under NOT, false."""
        outcome = self._outcome(node)
        if outcome is wanted:
            return
        match node:
            # `a NOT LIKE b` reads as one: the LIKE alone does not stand in the text.
            case Not(operand) if operand.span != node.span:
                yield from self.against(operand, wanted=not wanted)
            case Combine(operator="XOR"):
                yield from self._against_exclusive(node, outcome, wanted=wanted)
            case Combine():
                yield from self._against_chain(node, wanted=wanted)
            case _:
                yield self.part(node, self._reason(node, outcome))

    def _against_chain(self, node: Combine, *, wanted: bool) -> Iterator[Shortfall]:
        """Yield what is wrong with AND, and under NOT with OR, or the other way round.

        Where all have to be as wanted, each that is not is named, but no error after the first
        of them: it would not have been reached. Where one is enough, none was, up to an error.
        """
        all_count = (node.operator == "AND") is wanted
        stopped = False
        for operand in operands(node):
            outcome = self._outcome(operand)
            erred = isinstance(outcome, EvaluationError)
            if not (stopped and (erred or not all_count)):
                yield from self.against(operand, wanted=wanted)
            stopped = stopped or (outcome is (not wanted) if all_count else erred)

    def _against_exclusive(
        self, node: Combine, outcome: Outcome, *, wanted: bool
    ) -> Iterator[Shortfall]:
        outcomes = [self._outcome(operand) for operand in operands(node)]
        for operand, each in zip(operands(node), outcomes, strict=True):
            if isinstance(each, EvaluationError):
                yield from self.against(operand, wanted=wanted)
                return
        true = outcomes.count(True)
        if len(outcomes) > 2:
            yield self.part(node, f"{true} of the {len(outcomes)} sides are true")
        else:
            yield self.part(node, ("both sides are false", "is true", "both sides are true")[true])

    def _outcome(self, node: Node) -> Outcome:
        try:
            return bool(cast_to(bool, node)(self._attributes))
        except Failed as failed:
            return failed.error

    def _reason(self, node: Node, outcome: Outcome) -> str:
        if isinstance(outcome, EvaluationError):
            return str(outcome)
        values = ", ".join(self._value(name) for name in dict.fromkeys(names(node)))
        if outcome:
            return f"is true: {values}" if values else "is true"
        return values or "is false"

    def _value(self, name: str) -> str:
        value: Value | None = self._attributes.get(name)
        return f"no attribute '{name}'" if value is None else f"{name} is {shown(value)}"
