"""Finds what an expression says that its author may not have meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from broker.cesql import functions
from broker.cesql.compile import no_function, type_of
from broker.cesql.printing import operand_printed, printed
from broker.cesql.tree import (
    Attribute,
    Call,
    Combine,
    Compare,
    In,
    Like,
    Literal,
    Node,
    Not,
    parts,
)
from broker.cesql.values import cut
from broker.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something doubtful. ``column`` is where, in characters, from 1; ``message`` is for people."""

    column: int
    message: str


def doubts(tree: Node, text: str) -> tuple[Doubt, ...]:
    """Return everything doubtful in the expression with this text, from left to right."""
    found = [
        *_never_true(tree),
        *_mixtures(tree, text),
        *_negations(tree),
        *_unknown_functions(tree),
    ]
    return tuple(sorted(found, key=lambda doubt: doubt.column))


def _never_true(tree: Node) -> Iterator[Doubt]:
    column, kind = tree.span.start + 1, type_of(tree)
    if isinstance(tree, Attribute):
        yield Doubt(
            column, f"an attribute is text, so no event passes: write BOOL({tree.name}) for a flag"
        )
    elif kind is not bool:
        sort = "a string" if kind is str else "an integer"
        yield Doubt(column, f"the result is {sort}, never true, so no event passes")


def _mixtures(node: Node, text: str) -> Iterator[Doubt]:
    """Yield a doubt for each chain of AND, OR and XOR that only their order holds together."""
    if not isinstance(node, Combine):
        for part in parts(node):
            yield from _mixtures(part, text)
        return
    chain = [node]
    # A left side in parentheses begins after the chain does.
    while isinstance(left := chain[-1].left, Combine) and left.span.start == node.span.start:
        chain.append(left)
    chain.reverse()
    changes = [each for before, each in pairwise(chain) if each.operator != before.operator]
    if changes:
        column = _operator_at(changes[0], text) + 1
        yield Doubt(column, f"read from left to right, as {cut(_reading(chain))}: use parentheses")
    for side in (chain[0].left, *(each.right for each in chain)):
        yield from _mixtures(side, text)


def _operator_at(node: Combine, text: str) -> int:
    """Return the index of the operator: next to it, there is nothing but parentheses."""
    found = re.compile(node.operator, re.IGNORECASE).search(text, node.left.span.end)
    return node.span.start if found is None else found.start()


def _reading(chain: list[Combine]) -> str:
    """Return the chain with the parentheses that say how it is read."""
    reading, operator = operand_printed(chain[0].left), chain[0].operator
    for each in chain:
        if each.operator != operator:
            reading, operator = f"({reading})", each.operator
        reading += f" {operator} {operand_printed(each.right)}"
    return reading


def _negations(node: Node) -> Iterator[Doubt]:
    """Yield a doubt for each ``NOT a = b``: it is the value that is negated, not the comparison."""
    match node:
        case Compare(right=Literal(bool())):
            pass  # means the same either way
        case (
            Compare(left=Not(operand=negated) as left)
            | Like(operand=Not(operand=negated) as left)
            | In(operand=Not(operand=negated) as left)
        ) if left.span.start == node.span.start and negated.span.start != left.span.start:
            rest = printed(node).removeprefix(printed(left))
            reading = cut(f"({printed(left)}){rest}")
            yield Doubt(node.span.start + 1, f"read as {reading}: use parentheses")
    for part in parts(node):
        yield from _negations(part)


def _unknown_functions(node: Node) -> Iterator[Doubt]:
    match node:
        case Call(name, arguments) if functions.find(name, len(arguments)) is None:
            known = "" if name in functions.BUILT_IN else did_you_mean(name, functions.BUILT_IN)
            yield Doubt(
                node.span.start + 1,
                f"{no_function(name, len(arguments))}{known}; an event for which it is called "
                "does not pass",
            )
    for part in parts(node):
        yield from _unknown_functions(part)
