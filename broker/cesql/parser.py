"""Parses an expression: a Pratt parser over the tokens (CESQL 1.0, sections 2 and 3.6).

What binds tightest: function calls, then ``NOT`` and ``-``, then LIKE and IN, ``* / %``, ``+ -``,
comparisons, and last AND, OR and XOR, all three on one level. Operators on one level are read
from left to right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, cast

from broker.cesql.lexer import Token, tokenize, unquoted
from broker.cesql.like import Pattern
from broker.cesql.refusals import CesqlSyntaxError, unexpected
from broker.cesql.tree import (
    Arithmetic,
    Attribute,
    Call,
    Combine,
    Compare,
    Comparison,
    Compute,
    Exists,
    In,
    Like,
    Literal,
    Logic,
    Negative,
    Node,
    Not,
    Span,
)
from broker.event import INTEGER_RANGE

MAX_NESTING: Final = 100
"""How deep parentheses, calls, sets, NOT and ``-`` may be nested."""

MAX_DEPTH: Final = 150
"""How deep operators may be nested. A run of one and the same AND, OR or XOR counts as one. Thus
all that walks a tree, and the closures of one, stay within Python's stack."""

LOGIC, COMPARISON, SUM, PRODUCT, MEMBERSHIP, PREFIX = range(1, 7)
"""How tight operators bind. LIKE and IN, to whose right no operator stands, can share a level."""

BINDING: Final = {
    **dict.fromkeys(("AND", "OR", "XOR"), LOGIC),
    **dict.fromkeys(("=", "!=", "<>", "<", "<=", ">", ">="), COMPARISON),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/", "%"), PRODUCT),
    **dict.fromkeys(("LIKE", "IN", "NOT"), MEMBERSHIP),
}

_FUNCTION: Final = re.compile(r"[A-Za-z][A-Za-z_]*")
_A_VALUE: Final = "a value, NOT, EXISTS, '-' or '('"


def parse_tree(text: str) -> Node:
    """Return the tree of an expression, or raise `CesqlSyntaxError`."""
    return _Parser(text).whole()


class _Parser:
    """Reads tokens from left to right, with one token of lookahead.

    ``_height`` tells how deep the part that was parsed last is, from its leaves up.
    """

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._token = next(self._tokens)
        self._end = 0  # of the token before
        self._nesting = 0
        self._depth = 0
        self._height = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._token.kind != "end":
            self._refuse("an operator or the end")
        return node

    def _expression(self, level: int = 0) -> Node:
        """Parse an operand, and all operators after it that bind tighter than ``level``."""
        start = self._token.start
        node = self._operand()
        while (binding := BINDING.get(self._token.kind, 0)) > level:
            node = (
                self._membership(node, start)
                if binding == MEMBERSHIP
                else self._binary(node, start, binding)
            )
        return node

    def _operand(self) -> Node:
        parse = _OPERANDS.get(self._token.kind)
        if parse is None:
            self._refuse(_A_VALUE)
        self._height = 1
        return parse(self)

    def _binary(self, left: Node, start: int, binding: int) -> Node:
        height = self._height
        operator = self._advance().kind
        self._depth = self._within(self._depth + 1)
        right = self._expression(binding)
        self._depth -= 1
        span = Span(start, self._end)
        node: Node
        if binding == LOGIC:
            node = Combine(cast("Logic", operator), left, right, span=span)
        elif binding == COMPARISON:
            operator = "!=" if operator == "<>" else operator
            node = Compare(cast("Comparison", operator), left, right, span=span)
        else:
            node = Compute(cast("Arithmetic", operator), left, right, span=span)
        if not (binding == LOGIC and isinstance(left, Combine) and left.operator == operator):
            height += 1
        self._height = self._within(max(height, self._height + 1))
        return node

    def _membership(self, left: Node, start: int) -> Node:
        height = self._height
        negated = self._token.kind == "NOT"
        if negated:
            self._advance()
        node: Node
        if self._token.kind == "LIKE":
            self._advance()
            pattern = Pattern(unquoted(self._expect("string", "a pattern in quotes").text))
            node = Like(left, pattern, span=Span(start, self._end))
        elif self._token.kind == "IN":
            self._advance()
            elements = self._list()
            node = In(left, elements, span=Span(start, self._end))
            height = max(height, self._height)
        else:
            self._refuse("LIKE or IN")
        self._height = self._within(height + 1 + negated)
        return Not(node, span=node.span) if negated else node

    def _list(self, end: str = "") -> tuple[Node, ...]:
        """Parse what stands in parentheses, separated by commas; nothing, if ``end`` allows it."""
        self._open()
        if self._token.kind == end:
            self._close(end)
            return ()
        nodes = [self._expression()]
        height = self._height
        while self._token.kind == ",":
            self._advance()
            nodes.append(self._expression())
            height = max(height, self._height)
        self._close("an operator, ',' or ')'")
        self._height = height
        return tuple(nodes)

    def _parenthesis(self) -> Node:
        self._open()
        node = self._expression()
        self._close("an operator or ')'")
        return node

    def _not(self) -> Node:
        token = self._advance()
        operand = self._prefixed(token)
        return Not(operand, span=Span(token.start, self._end))

    def _negative(self, sign: Token) -> Node:
        operand = self._prefixed(sign)
        return Negative(operand, span=Span(sign.start, self._end))

    def _prefixed(self, prefix: Token) -> Node:
        self._nest(prefix)
        operand = self._operand()
        self._nesting -= 1
        self._height = self._within(self._height + 1)
        return operand

    def _sign(self) -> Node:
        sign = self._advance()
        if self._token.kind == "integer" and self._token.start == sign.end:
            return self._integer(sign)
        if sign.kind == "+":
            raise _refusal(sign, _A_VALUE)
        return self._negative(sign)

    def _integer(self, sign: Token | None = None) -> Node:
        token = self._token
        digits = token.text.lstrip("0")
        number = int(digits or 0) if len(digits) <= 10 else INTEGER_RANGE.stop
        if sign and sign.kind == "-":
            number = -number
        if number not in INTEGER_RANGE:
            self._refuse("an integer of 32 bits")
        self._advance()
        return Literal(number, span=Span((sign or token).start, token.end))

    def _string(self) -> Node:
        token = self._advance()
        return Literal(unquoted(token.text), span=Span(token.start, token.end))

    def _boolean(self) -> Node:
        token = self._advance()
        return Literal(token.kind == "TRUE", span=Span(token.start, token.end))

    def _exists(self) -> Node:
        start = self._advance().start
        if self._token.kind != "integer" and not _is_attribute(self._token):
            self._refuse("an attribute's name")
        name = self._advance().text.lower()
        return Exists(name, span=Span(start, self._end))

    def _name(self) -> Node:
        token = self._advance()
        if self._token.kind == "(":
            if not _FUNCTION.fullmatch(token.text):
                raise _refusal(token, "a function's name, of letters and '_'")
            return self._call(token)
        if not _is_attribute(token):
            raise _refusal(token, "an attribute's name, of letters and digits")
        return Attribute(token.text.lower(), span=Span(token.start, token.end))

    def _call(self, name: Token) -> Node:
        arguments = self._list(")")
        self._height = self._within(self._height + 1)
        return Call(name.text.upper(), arguments, span=Span(name.start, self._end))

    def _advance(self) -> Token:
        token = self._token
        self._end = token.end
        self._token = next(self._tokens)
        return token

    def _expect(self, kind: str, expected: str) -> Token:
        if self._token.kind != kind:
            self._refuse(expected)
        return self._advance()

    def _open(self) -> None:
        self._nest(self._expect("(", "'('"))

    def _close(self, expected: str) -> None:
        self._expect(")", expected)
        self._nesting -= 1

    def _nest(self, token: Token) -> None:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            limit = f"at most {MAX_NESTING} parentheses, NOT and '-' within one another"
            raise CesqlSyntaxError("nested too deep", column=token.start + 1, expected=limit)

    def _within(self, depth: int) -> int:
        if depth > MAX_DEPTH:
            limit = f"at most {MAX_DEPTH} operators within one another"
            raise CesqlSyntaxError("nested too deep", column=self._end + 1, expected=limit)
        return depth

    def _refuse(self, expected: str) -> NoReturn:
        raise _refusal(self._token, expected)


def _refusal(token: Token, expected: str) -> CesqlSyntaxError:
    return unexpected(token.kind, token.text, column=token.start + 1, expected=expected)


def _is_attribute(token: Token) -> bool:
    return token.kind == "name" and "_" not in token.text


_OPERANDS: Final[Mapping[str, Callable[[_Parser], Node]]] = {
    "name": _Parser._name,
    "integer": _Parser._integer,
    "string": _Parser._string,
    "TRUE": _Parser._boolean,
    "FALSE": _Parser._boolean,
    "EXISTS": _Parser._exists,
    "NOT": _Parser._not,
    "-": _Parser._sign,
    "+": _Parser._sign,
    "(": _Parser._parenthesis,
}
