"""A naive model of CESQL: each operation by itself, the slow way, from the specification's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

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
)
from broker.cesql.values import ErrorKind

Value = str | int | bool
Result = tuple[Value, ErrorKind | None]

SMALL, LARGE = -(2**31), 2**31 - 1

ARITIES = {
    "ABS": 1, "BOOL": 1, "CONCAT": 2, "CONCAT_WS": 3, "INT": 1, "LEFT": 2, "LENGTH": 1,
    "LOWER": 1, "RIGHT": 2, "STRING": 1, "SUBSTRING": 3, "TRIM": 1, "UPPER": 1, "NOPE": 1,
}  # fmt: skip
"""How many arguments each function may have; some take others, and NOPE does not exist."""


class Erred(Exception):
    """An operation erred, and has a value all the same."""

    def __init__(self, kind: ErrorKind, value: Value) -> None:
        self.kind = kind
        self.value = value


def model(node: Node, attributes: Mapping[str, Value]) -> Result:
    """Return the node's value, and the kind of the first error."""
    try:
        return _Operation(node, attributes).value(), None
    except Erred as erred:
        return erred.value, erred.kind


def like(pattern: str, text: str) -> bool:
    parts = re.findall(r"(?s)\\[%_]|.", pattern)
    wild = {"%": "(?s:.*)", "_": "(?s:.)"}
    regex = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(regex, text) is not None


class _Operation:
    def __init__(self, node: Node, attributes: Mapping[str, Value]) -> None:
        self.node = node
        self.attributes = attributes

    def of(self, part: Node) -> Value:
        """Return the value of an operand; if it erred, so has this operation."""
        value, error = model(part, self.attributes)
        if error:
            raise Erred(error, self.zero())
        return value

    def text(self, part: Node) -> str:
        return str(self.cast(self.of(part), str))

    def number(self, part: Node) -> int:
        return int(self.cast(self.of(part), int))

    def truth(self, part: Node) -> bool:
        return bool(self.cast(self.of(part), bool))

    def cast(self, value: Value, kind: type[Value]) -> Value:
        try:
            return _converted(value, kind)
        except ValueError:
            raise Erred("cast", self.zero()) from None

    def zero(self) -> Value:
        """Return the zero value of the type that the operation returns."""
        match self.node:
            case Negative() | Compute():
                return 0
            case Call(name, arguments) if _accepts(name, len(arguments)):
                return {"ABS": 0, "INT": 0, "LENGTH": 0, "BOOL": False}.get(name, "")
            case _:
                return False

    def value(self) -> Value:
        match self.node:
            case Literal(value):
                return value
            case Attribute(name):
                if name not in self.attributes:
                    raise Erred("missingAttribute", False)
                return self.attributes[name]
            case Exists(name):
                return name in self.attributes
            case Negative(operand):
                return _in_range(-self.number(operand))
            case Compute(operator, left, right):
                return _computed(operator, self.number(left), self.number(right))
            case Call(name, arguments):
                if not _accepts(name, len(arguments)):
                    raise Erred("missingFunction", False)
                return self.called(name, arguments)
            case _:
                return self.judged(self.node)

    def judged(self, node: Not | Compare | Combine | Like | In) -> bool:
        match node:
            case Not(operand):
                return not self.truth(operand)
            case Compare(("=" | "!=") as operator, left, right):
                x, y = self.of(left), self.of(right)
                return (self.cast(x, type(y)) == y) is (operator == "=")
            case Compare(operator, left, right):
                x, y = self.number(left), self.number(right)
                return {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[operator]
            case Combine("AND", left, right):
                return self.truth(left) and self.truth(right)
            case Combine("OR", left, right):
                return self.truth(left) or self.truth(right)
            case Combine(_, left, right):
                return self.truth(left) != self.truth(right)
            case Like(operand, pattern):
                return like(pattern.source, self.text(operand))
            case In(operand, elements):
                value = self.of(operand)
                return any(self.cast(self.of(each), type(value)) == value for each in elements)

    def called(self, name: str, arguments: tuple[Node, ...]) -> Value:
        match name:
            case "INT":
                return self.number(arguments[0])
            case "BOOL":
                return self.truth(arguments[0])
            case "ABS":
                number = self.number(arguments[0])
                if number == SMALL:
                    raise Erred("math", LARGE)
                return abs(number)
            case "LEFT" | "RIGHT" | "SUBSTRING":
                text, *numbers = arguments
                return _piece(name, self.text(text), [self.number(each) for each in numbers])
            case _:
                return _OF_TEXTS[name]([self.text(each) for each in arguments])


_OF_TEXTS: Mapping[str, Callable[[list[str]], Value]] = {
    "STRING": lambda texts: texts[0],
    "LENGTH": lambda texts: len(list(texts[0])),
    "CONCAT": "".join,
    "CONCAT_WS": lambda texts: texts[0].join(texts[1:]),
    "LOWER": lambda texts: texts[0].lower(),
    "UPPER": lambda texts: texts[0].upper(),
    "TRIM": lambda texts: texts[0].strip(" "),  # of blanks, the tests' strings have only spaces
}


def _accepts(name: str, arguments: int) -> bool:
    match name:
        case "SUBSTRING":
            return arguments in {2, 3}
        case "CONCAT":
            return True
        case "CONCAT_WS":
            return arguments >= 1
        case _:
            return name != "NOPE" and arguments == ARITIES[name]


def _converted(value: Value, kind: type[Value]) -> Value:
    if type(value) is kind:
        return value
    if kind is str:
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value:d}"
    if not isinstance(value, str):
        return kind(value)
    if kind is bool:
        return ["false", "true"].index(value.lower()) == 1
    if not re.fullmatch(r"[+-]?[0-9]+", value) or not SMALL <= int(value) <= LARGE:
        raise ValueError(value)
    return int(value)


def _in_range(number: int) -> int:
    if not SMALL <= number <= LARGE:
        raise Erred("math", 0)
    return number


def _computed(operator: str, x: int, y: int) -> int:
    if operator in "/%" and y == 0:
        raise Erred("math", 0)
    match operator:
        case "/":  # floats are precise enough for quotients of 32 bits, cut at the point
            return _in_range(int(x / y))
        case "%":
            return x - y * int(x / y)
        case _:
            return _in_range({"+": x + y, "-": x - y, "*": x * y}[operator])


def _piece(name: str, text: str, numbers: list[int]) -> str:
    size = len(text)
    if name != "SUBSTRING":
        (count,) = numbers
        if count < 0:
            raise Erred("functionEvaluation", text)
        kept = range(count) if name == "LEFT" else range(size - count, size)
        return "".join(text[index] for index in range(size) if index in kept)
    position, length = (*numbers, size)[:2]
    if not -size <= position <= size or length < 0:
        raise Erred("functionEvaluation", "")
    first = position - 1 if position > 0 else size + position if position else size
    return "".join(text[index] for index in range(size) if first <= index < first + length)
