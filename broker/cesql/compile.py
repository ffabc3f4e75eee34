"""Compiles a tree into closures, once, for all the evaluations to come.

CESQL 1.0, sections 3.4 "Operators", 3.5 "Functions" and 3.7 "Type casting". The first error
ends an evaluation: section 4.1 calls that the fail fast mode.

What closures take and return is settled here, by the types of the nodes. Closures for what
filters mostly say, an attribute compared with a text, are written out: each call that is saved
is a tenth of a microsecond per event and trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, repeat
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final, assert_never

from broker.cesql import functions
from broker.cesql.arithmetic import ARITHMETIC, negative
from broker.cesql.like import Pattern
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
    Value,
    operands,
)
from broker.cesql.values import CASTS, Failed, to_text

Attributes = Mapping[str, Value]
Run = Callable[[Attributes], Any]
"""Returns the value of a node, or raises `Failed`."""

_COMPARE: Final = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def type_of(node: Node) -> type[Value] | None:
    """Return the type of all values of the node; None for an attribute, which has its own."""
    match node:
        case Literal(value):
            return type(value)
        case Attribute():
            return None
        case Negative() | Compute():
            return int
        case Call(name, arguments):
            function = functions.find(name, len(arguments))
            return bool if function is None else function.result
        case _:
            return bool


def compiled(node: Node) -> Run:
    """Return the closure that computes the node's value."""
    match node:
        case Literal() | Attribute() | Exists():
            return _leaf(node)
        case Not(operand):
            return _not(cast_to(bool, operand))
        case Negative(operand):
            return _negative(cast_to(int, operand))
        case Compute():
            return _computation(node)
        case Combine():
            return _COMBINE[node.operator]([cast_to(bool, each) for each in operands(node)])
        case Compare():
            return _comparison(node)
        case Like():
            return _like(cast_to(str, node.operand), node.pattern)
        case In():
            return _membership(node)
        case Call():
            return _call(node)
        case _:
            assert_never(node)


def cast_to(kind: type[Value], node: Node) -> Run:
    """Return the closure that computes the node's value, cast to a type."""
    run, cast = compiled(node), CASTS[kind]
    if type_of(node) is kind:
        return run
    if isinstance(node, Attribute) and kind is str:
        return _text(node.name)
    if isinstance(node, Literal):
        with suppress(Failed):  # a cast that errs does so whenever it is evaluated, and only then
            value = cast(node.value)
            return lambda _: value
    return lambda attributes: cast(run(attributes))


def _leaf(node: Literal | Attribute | Exists) -> Run:
    match node:
        case Literal(value):
            return lambda _: value
        case Attribute(name):
            return _attribute(name)
        case Exists(name):
            return lambda attributes: name in attributes
        case _:
            assert_never(node)


def _attribute(name: str) -> Run:
    def read(attributes: Attributes) -> Value:
        value = attributes.get(name)
        if value is None:
            raise _missing_attribute(name)
        return value

    return read


def _text(name: str) -> Run:
    def read(attributes: Attributes) -> str:
        value = attributes.get(name)
        return value if value.__class__ is str else _as_text(name, value)

    return read


def _as_text(name: str, value: Value | None) -> str:
    if value is None:
        raise _missing_attribute(name)
    return to_text(value)


def _missing_attribute(name: str) -> Failed:
    return Failed("missingAttribute", f"no attribute '{name}'")


def _not(operand: Run) -> Run:
    return lambda attributes: not operand(attributes)


def _comparison(node: Compare) -> Run:
    compare = _COMPARE[node.operator]
    if node.operator not in {"=", "!="}:
        left, right = cast_to(int, node.left), cast_to(int, node.right)
        return lambda attributes: compare(left(attributes), right(attributes))
    match node:
        case Compare("=", Attribute(name), Literal(str() as text)):
            return _is_text(name, text)
    right, kind = compiled(node.right), type_of(node.right)
    # Where the right side may err, that comes before the cast of the left one.
    if kind is not None and (isinstance(node.right, Literal) or type_of(node.left) is kind):
        left = cast_to(kind, node.left)
        return lambda attributes: compare(left(attributes), right(attributes))
    uncast = compiled(node.left)

    def compare_by_type(attributes: Attributes) -> bool:
        x, y = uncast(attributes), right(attributes)
        return bool(compare(CASTS[type(y)](x), y))

    return compare_by_type


def _is_text(name: str, text: str) -> Run:
    def is_text(attributes: Attributes) -> bool:
        value = attributes.get(name)
        return (value if value.__class__ is str else _as_text(name, value)) == text

    return is_text


def _every(runs: Sequence[Run]) -> Run:
    if len(runs) == 2:
        one, other = runs
        return lambda attributes: one(attributes) and other(attributes)

    def every(attributes: Attributes) -> bool:
        for run in runs:  # noqa: SIM110 - a generator takes three times as long
            if not run(attributes):
                return False
        return True

    return every


def _some(runs: Sequence[Run]) -> Run:
    if len(runs) == 2:
        one, other = runs
        return lambda attributes: one(attributes) or other(attributes)

    def some(attributes: Attributes) -> bool:
        for run in runs:  # noqa: SIM110
            if run(attributes):
                return True
        return False

    return some


def _odd(runs: Sequence[Run]) -> Run:
    return lambda attributes: sum([run(attributes) for run in runs]) % 2 == 1


def _negative(operand: Run) -> Run:
    return lambda attributes: negative(operand(attributes))


def _computation(node: Compute) -> Run:
    compute = ARITHMETIC[node.operator]
    left, right = cast_to(int, node.left), cast_to(int, node.right)
    return lambda attributes: compute(left(attributes), right(attributes))


def _like(operand: Run, pattern: Pattern) -> Run:
    if pattern.is_prefix:
        prefix = pattern.prefix
        return lambda attributes: operand(attributes).startswith(prefix)
    matches = pattern.matches
    return lambda attributes: matches(operand(attributes))


def _membership(node: In) -> Run:
    operand = compiled(node.operand)
    literals = [each.value for each in node.elements if isinstance(each, Literal)]
    texts = frozenset(map(to_text, literals))
    only_literals = len(literals) == len(node.elements)
    elements = [compiled(each) for each in node.elements]

    def is_in(attributes: Attributes) -> bool:
        value = operand(attributes)
        kind = value.__class__
        if kind is str and only_literals:
            return value in texts
        cast = CASTS[kind]
        for element in elements:  # noqa: SIM110
            if cast(element(attributes)) == value:
                return True
        return False

    return is_in


def _call(node: Call) -> Run:
    function = functions.find(node.function, len(node.arguments))
    if function is None:
        return _missing_function(node)
    rest = repeat(function.rest or str)
    kinds = chain(function.parameters, rest)
    runs = [cast_to(kind, each) for each, kind in zip(node.arguments, kinds, strict=False)]
    body = function.body
    if body is functions.itself:
        return runs[0]

    def call(attributes: Attributes) -> Value:
        result = body(*[run(attributes) for run in runs])
        if isinstance(result, Failed):
            result.call = node
            raise result
        return result

    return call


def _missing_function(node: Call) -> Run:
    def call(_: Attributes) -> Value:
        raise Failed("missingFunction", no_function(node.function, len(node.arguments)))

    return call


def no_function(name: str, arguments: int) -> str:
    """Return in words that no function of that name takes so many arguments."""
    count = {0: "without arguments", 1: "with 1 argument"}
    return f"no function {name} {count.get(arguments, f'with {arguments} arguments')}"


_COMBINE: Final = {"AND": _every, "OR": _some, "XOR": _odd}
