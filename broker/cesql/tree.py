"""The syntax tree of an expression.

Two trees are equal when they mean the same; where their parts stood in the text, and which
parentheses were not needed, is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal as OneOf

from broker.cesql.like import Pattern

Value = str | int | bool

Comparison = OneOf["=", "!=", "<", "<=", ">", ">="]
"""``<>`` is read as ``!=``."""
Arithmetic = OneOf["*", "/", "%", "+", "-"]
Logic = OneOf["AND", "OR", "XOR"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a part stands in the text: from ``start`` up to, and without, ``end``, from 0."""

    start: int
    end: int


NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Literal(_Node):
    """A string, an integer of 32 bits, or a boolean."""

    value: Value


@dataclass(frozen=True, slots=True)
class Attribute(_Node):
    """The value of a context attribute. The name is in lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class Exists(_Node):
    """``EXISTS name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Not(_Node):
    """``NOT operand``. Also what ``x NOT LIKE …`` and ``x NOT IN …`` are read as."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Negative(_Node):
    """``-operand``."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Compare(_Node):
    operator: Comparison
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compute(_Node):
    operator: Arithmetic
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Combine(_Node):
    """``left AND right`` and so on: all three on one level, from left to right."""

    operator: Logic
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Like(_Node):
    operand: Node
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class In(_Node):
    operand: Node
    elements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Call(_Node):
    """A function call. The name is in upper case; whether it exists is found when evaluating."""

    function: str
    arguments: tuple[Node, ...]


Node = (
    Literal | Attribute | Exists | Not | Negative | Compare | Compute | Combine | Like | In | Call
)


def operands(node: Combine) -> list[Node]:
    """Return what ``a AND b AND c`` combines, from left to right; so for OR and XOR.

    Such a run can be hundreds of operands long. Its tree leans to the left, and is taken apart
    without recursion.
    """
    found = [node.right]
    left = node.left
    while isinstance(left, Combine) and left.operator == node.operator:
        found.append(left.right)
        left = left.left
    return [left, *reversed(found)]


def parts(node: Node) -> tuple[Node, ...]:
    """Return the nodes of which the node is made; a run of AND, OR or XOR counts as one node."""
    match node:
        case Combine():
            return tuple(operands(node))
        case Compare(_, left, right) | Compute(_, left, right):
            return (left, right)
        case Not(operand) | Negative(operand) | Like(operand):
            return (operand,)
        case In(operand, elements):
            return (operand, *elements)
        case Call(_, arguments):
            return arguments
        case _:
            return ()


def names(node: Node) -> Iterator[str]:
    """Yield the names of the attributes that the node looks at, as often as it names them."""
    match node:
        case Attribute(name) | Exists(name):
            yield name
        case _:
            for part in parts(node):
                yield from names(part)
