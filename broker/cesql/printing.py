"""Prints a tree as text that is parsed as the same tree, with no parentheses but those needed."""

from __future__ import annotations

from typing import assert_never

from broker.cesql.lexer import in_quotes
from broker.cesql.parser import BINDING, LOGIC, MEMBERSHIP, PREFIX
from broker.cesql.tree import (
    Attribute,
    Call,
    Combine,
    Compare,
    Compute,
    Exists,
    In,
    Like,
    Literal,
    Negative,
    Node,
    Not,
    operands,
)
from broker.cesql.values import to_text


def printed(node: Node) -> str:
    """Return the canonical text of the tree."""
    match node:
        case Literal() | Attribute() | Exists() | Call():
            return _atom(node)
        case Like() | In():
            return _membership(node, "")
        case Not(Like() | In() as operand):
            return _membership(operand, "NOT ")
        case Not(operand):
            return f"NOT {_operand(operand, PREFIX)}"
        case Negative(operand):
            return f"-{_apart(_operand(operand, PREFIX))}"
        case Compare(operator, left, right) | Compute(operator, left, right):
            return _run(operator, [left, right])
        case Combine():
            return _run(node.operator, operands(node))
        case _:
            assert_never(node)


def _atom(node: Literal | Attribute | Exists | Call) -> str:
    match node:
        case Literal(value):
            return in_quotes(value) if isinstance(value, str) else to_text(value)
        case Attribute(name):
            return name
        case Exists(name):
            return f"EXISTS {name}"
        case Call(function, arguments):
            return f"{function}({_listed(arguments)})"
        case _:
            assert_never(node)


def operand_printed(node: Node) -> str:
    """Return the canonical text of an operand of AND, OR or XOR."""
    return _operand(node, LOGIC + 1)


def _membership(node: Like | In, negation: str) -> str:
    left = _operand(node.operand, MEMBERSHIP)
    if isinstance(node, Like):
        return f"{left} {negation}LIKE {in_quotes(node.pattern.source)}"
    return f"{left} {negation}IN ({_listed(node.elements)})"


def _run(operator: str, nodes: list[Node]) -> str:
    level = BINDING[operator]
    first, *others = nodes
    return f" {operator} ".join([_operand(first, level), *(_operand(e, level + 1) for e in others)])


def _operand(node: Node, level: int) -> str:
    text = printed(node)
    return text if _level(node) >= level else f"({text})"


def _level(node: Node) -> int:
    match node:
        case Combine() | Compare() | Compute():
            return BINDING[node.operator]
        case Like() | In() | Not(Like() | In()):
            return MEMBERSHIP
        case _:
            return PREFIX


def _apart(text: str) -> str:
    """Return the operand of ``-``, kept from being read as a negative literal."""
    return f" {text}" if text[0].isdigit() else text


def _listed(nodes: tuple[Node, ...]) -> str:
    return ", ".join(map(printed, nodes))
