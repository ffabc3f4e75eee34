"""CESQL: what is printed is parsed as it was, and evaluation agrees with a naive model of it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from broker.cesql import CesqlSyntaxError, Expression, Pattern, parse
from broker.cesql.lexer import in_quotes
from broker.cesql.printing import printed
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
from tests.property.cesql_model import ARITIES, LARGE, SMALL, Value, like, model

names = st.sampled_from(["a", "b", "c", "missing", "3d"])
integers = st.sampled_from([0, 1, -1, 2, 7, 100, LARGE, SMALL]) | st.integers(SMALL, LARGE)
# A string can be written with one delimiter or the other unless it has a backslash before both.
strings = st.sampled_from(["", "1", "-7", "true", "FALSE", "a", "ab", "2147483648"]) | st.text(
    "ab'\"%_\\ é🎉", max_size=6
).filter(lambda text: re.fullmatch(r"(?s)([^\\]|\\[^'])*|([^\\]|\\[^\"])*", text))
values = strings | integers | st.booleans()
typed_events = st.dictionaries(st.sampled_from(["a", "b", "c", "3d"]), values)
text_events = st.dictionaries(st.sampled_from(["a", "b", "c", "3d"]), strings)


def _composed(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    calls = st.sampled_from(sorted(ARITIES)).flatmap(
        lambda name: st.builds(
            Call, st.just(name), st.tuples(*[inner] * ARITIES[name]) | st.tuples(inner, inner)
        )
    )
    patterns = strings.map(Pattern)
    return st.one_of(
        st.builds(Not, inner),
        st.builds(Negative, inner),
        st.builds(Compare, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), inner, inner),
        st.builds(Compute, st.sampled_from(["*", "/", "%", "+", "-"]), inner, inner),
        st.builds(Combine, st.sampled_from(["AND", "OR", "XOR"]), inner, inner),
        st.builds(Like, inner, patterns),
        st.builds(In, inner, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        calls,
    )


leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Literal, values), st.builds(Attribute, names), st.builds(Exists, names)
)
trees = st.recursive(leaves, _composed, max_leaves=12)


@given(trees)
def test_what_is_printed_is_parsed_as_it_was(tree: Node) -> None:
    text = printed(tree)

    assert parse(text).tree == tree
    assert str(parse(text)) == text


@given(trees, typed_events)
def test_evaluation_agrees_with_the_naive_model(tree: Node, attributes: dict[str, Value]) -> None:
    evaluation = parse(printed(tree)).evaluate(attributes)

    value, kind = model(tree, attributes)
    assert evaluation.value == value
    assert type(evaluation.value) is type(value)
    assert (None if evaluation.error is None else evaluation.error.kind) == kind


@given(trees, text_events)
def test_passing_is_being_true_without_an_error(tree: Node, attributes: dict[str, str]) -> None:
    expression = parse(printed(tree))

    evaluation = expression.evaluate(attributes)

    assert expression.passes(attributes) is (evaluation.value is True and evaluation.error is None)


@given(trees, text_events)
def test_shortfalls_are_told_just_where_an_event_does_not_pass(
    tree: Node, attributes: dict[str, str]
) -> None:
    expression = parse(printed(tree))

    shortfalls = expression.shortfalls(attributes)

    assert (shortfalls == ()) is expression.passes(attributes)
    for each in shortfalls:
        start = each.column - 1
        assert expression.text[start : start + len(each.text)] == each.text
        assert each.reason


def wrapped(node: Node) -> str:
    """Return the text of the node with parentheses around every part of it."""
    match node:
        case Not(operand):
            return f"(NOT {wrapped(operand)})"
        case Negative(operand):
            return f"(-{wrapped(operand)})"
        case Like(operand, pattern):
            return f"({wrapped(operand)} LIKE {in_quotes(pattern.source)})"
        case In(operand, elements):
            return f"({wrapped(operand)} IN ({', '.join(map(wrapped, elements))}))"
        case Call(name, arguments):
            return f"({name}({', '.join(map(wrapped, arguments))}))"
        case Compare() | Compute() | Combine():
            return f"({wrapped(node.left)} {node.operator} {wrapped(node.right)})"
        case _:
            return f"({printed(node)})"


@given(trees)
def test_needless_parentheses_change_nothing_and_leave_no_mixture(tree: Node) -> None:
    expression = parse(wrapped(tree))

    assert expression.tree == tree
    assert not any("parentheses" in doubt.message for doubt in expression.doubts())


pieces = st.lists(st.sampled_from(["%", "_", "a", "b", "ab", "aab"]))
patterns = st.text("ab%_\\", max_size=10) | pieces.map("".join)


@given(patterns, st.text("ab%_\\", max_size=12) | st.text("a", max_size=30))
def test_like_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    assert Pattern(pattern).matches(text) is like(pattern, text)


@given(st.lists(st.sampled_from("a_"), min_size=2, max_size=12), st.text("ab", max_size=60))
def test_like_finds_chunks_wherever_they_stand(chunk: list[str], text: str) -> None:
    pattern = f"%{''.join(chunk)}b%"

    assert Pattern(pattern).matches(text) is like(pattern, text)


chunks = st.text("a_", min_size=65, max_size=150)
slips = st.none() | st.integers(0, 150)


@given(chunks, st.lists(st.tuples(slips, st.text("ab", max_size=2)), max_size=12), st.text("ab_"))
def test_like_finds_a_long_chunk_among_others_that_differ_in_one_character(
    chunk: str, copies: list[tuple[int | None, str]], end: str
) -> None:
    text = ""
    for slip, between in copies:
        copy = chunk.replace("_", "a")
        text += copy if slip is None else f"{copy[:slip]}b{copy[slip + 1 :]}"
        text += between

    for pattern in (f"%{chunk}%", f"%b{chunk}%{end}", f"%{chunk}b%{chunk}%"):
        assert Pattern(pattern).matches(text) is like(pattern, text)


@given(patterns, st.text("ab%_", max_size=8))
def test_the_fixed_parts_of_a_pattern_are_those_of_every_text_that_it_matches(
    source: str, text: str
) -> None:
    pattern = Pattern(source)

    if pattern.matches(text):
        assert text.startswith(pattern.prefix)
        assert text.endswith(pattern.suffix)
        assert pattern.literal in {None, text}
    if pattern.is_prefix:
        assert pattern.matches(text) is text.startswith(pattern.prefix)
    if pattern.is_suffix:
        assert pattern.matches(text) is text.endswith(pattern.suffix)


@given(st.text("ab1 '\"\\()<>=!+-*/%,_&|éNOTANDRXLIKEINS\u00a0", max_size=40) | st.text())
def test_any_text_is_read_or_refused_at_a_column_of_it(text: str) -> None:
    try:
        parsed: Expression | CesqlSyntaxError = parse(text)
    except CesqlSyntaxError as refused:
        parsed = refused

    match parsed:
        case Expression():
            assert parse(str(parsed)).tree == parsed.tree
        case CesqlSyntaxError():
            assert 1 <= parsed.column <= len(text) + 1
            assert parsed.expected


@given(st.lists(st.tuples(st.sampled_from(["AND", "OR", "XOR"]), st.booleans()), max_size=6))
def test_logic_is_read_from_left_to_right(steps: list[tuple[str, bool]]) -> None:
    text = "TRUE" + "".join(f" {operator} {side}" for operator, side in steps)

    expected = True
    for operator, side in steps:
        expected = {
            "AND": expected and side,
            "OR": expected or side,
            "XOR": expected is not side,
        }[operator]
    assert parse(text).evaluate({}).value is expected
