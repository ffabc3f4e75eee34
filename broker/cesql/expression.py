"""A CESQL expression, parsed and compiled once, evaluated for every event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from broker.cesql.compile import Run, compiled, type_of
from broker.cesql.doubts import Doubt, doubts
from broker.cesql.parser import parse_tree
from broker.cesql.printing import printed
from broker.cesql.shortfalls import Shortfall, shortfalls
from broker.cesql.tree import Node, Value, names
from broker.cesql.values import ZERO, EvaluationError, Failed
from broker.event import Event


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The value of an expression for one event, and the first error, if there was any.

    With an error, the value is the zero value of the type that the expression returns, unless
    a function has another one for the case.
    """

    value: Value
    error: EvaluationError | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Expression:
    """A CESQL expression. Equal to another, and hashed, by its text.

    ``tree``  what the text says; parentheses that change nothing are not in it.
    """

    text: str
    tree: Node = field(compare=False)
    _run: Run = field(compare=False)

    def evaluate(self, attributes: Mapping[str, Value]) -> Evaluation:
        """Return the value for an event with these attributes. Nothing is raised."""
        try:
            return Evaluation(self._run(attributes))
        except Failed as failed:
            value = failed.value if failed.call is self.tree else ZERO[type_of(self.tree) or bool]
            return Evaluation(value, failed.error)

    def passes(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the value is the boolean true, and nothing erred."""
        try:
            return self._run(attributes) is True
        except Failed:
            return False

    def matches(self, event: Event) -> bool:
        """Return whether the event passes.

        Its attributes enter as canonical text, so that an event routes alike whichever mode or
        channel it came by.
        """
        return self.passes(event.attributes)

    @property
    def attributes(self) -> frozenset[str]:
        """The names of all attributes that the expression looks at."""
        return frozenset(names(self.tree))

    def doubts(self) -> tuple[Doubt, ...]:
        """Return what the author may not have meant, such as AND beside OR without parentheses."""
        return doubts(self.tree, self.text)

    def shortfalls(self, attributes: Mapping[str, str]) -> tuple[Shortfall, ...]:
        """Return the smallest parts that keep such an event out; nothing if it passes."""
        return shortfalls(self.tree, self.text, attributes)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        """Let another process parse the text: what it was compiled to cannot be pickled."""
        return parse, (self.text,)

    def __str__(self) -> str:
        """Return the canonical text, which says the same with no needless parentheses."""
        return printed(self.tree)

    def __repr__(self) -> str:
        return f"parse({self.text!r})"


def parse(text: str) -> Expression:
    """Return the expression, or raise `CesqlSyntaxError`."""
    tree = parse_tree(text)
    return Expression(text, tree, compiled(tree))
