"""What CESQL expressions look like: sections 2 "Language syntax" and 3.6 of CESQL 1.0."""

from __future__ import annotations

import pytest

from broker.cesql import CesqlSyntaxError, parse
from broker.errors import CemeshError


def refusal(text: str) -> CesqlSyntaxError:
    with pytest.raises(CesqlSyntaxError) as refused:
        parse(text)
    return refused.value


def value(text: str, **attributes: str | int | bool) -> str | int | bool:
    evaluation = parse(text).evaluate(attributes)
    assert evaluation.error is None
    return evaluation.value


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("true and not false xor 1 like '1'", "TRUE AND NOT FALSE XOR 1 LIKE '1'"),
        ("Exists subject Or type iN ('a')", "EXISTS subject OR type IN ('a')"),
        ("lower(type) = upper(type)", "LOWER(type) = UPPER(type)"),
        ("cOnCaT_wS('-', id)", "CONCAT_WS('-', id)"),
    ],
)
def test_keywords_and_function_names_are_written_in_any_case(text: str, same: str) -> None:
    assert parse(text).tree == parse(same).tree


def test_the_name_of_an_attribute_is_lowered() -> None:
    assert parse("SubJect = 'A'").passes({"subject": "A"})
    assert parse("EXISTS SubJect").passes({"subject": "A"})


def test_the_name_of_an_attribute_is_made_of_letters_and_digits_in_any_order() -> None:
    attributes = {"3d": "x", "a1b2": "y", "anameofmorethantwentycharacters": "z"}

    assert value("3d", **attributes) == "x"
    assert value("a1b2", **attributes) == "y"
    assert value("anameofmorethantwentycharacters", **attributes) == "z"


def test_blanks_tabs_and_line_ends_separate_tokens_and_mean_nothing() -> None:
    assert parse("\t id='1'\r\n\tAND ( type = 'b' )\n").tree == parse("id = '1' AND type='b'").tree


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("'plain'", "plain"),
        ('"plain"', "plain"),
        ("''", ""),
        ("'say \"hi\"'", 'say "hi"'),
        ('"it\'s"', "it's"),
        (r"'it\'s'", "it's"),
        (r'"say \"hi\""', 'say "hi"'),
        ("'Grüße, 世界'", "Grüße, 世界"),
        ("'two\nlines'", "two\nlines"),
    ],
)
def test_a_string_stands_in_apostrophes_or_quotation_marks(text: str, content: str) -> None:
    assert value(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"'a\nb'", r"a\nb"),
        (r"'a\\b'", r"a\\b"),
        (r"'\"'", r"\""),
        (r'"\'"', r"\'"),
        (r"'C:\\'", r"C:\\"),
        (r"'100\%'", r"100\%"),
    ],
)
def test_a_backslash_escapes_the_delimiter_and_nothing_else(text: str, content: str) -> None:
    assert value(text) == content


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("007", 7),
        ("+42", 42),
        ("-42", -42),
        ("2147483647", 2147483647),
        ("-2147483648", -2147483648),
        (f"{'0' * 5000}1", 1),
    ],
)
def test_an_integer_may_have_a_sign_and_has_32_bits(text: str, number: int) -> None:
    assert value(text) == number


@pytest.mark.parametrize("text", ["2147483648", "-2147483649", "- 2147483648", "9" * 5000])
def test_an_integer_out_of_range_is_refused(text: str) -> None:
    assert refusal(text).expected == "an integer of 32 bits"


@pytest.mark.parametrize(
    ("text", "number"),
    [("4-1", 3), ("4 -1", 3), ("4- 1", 3), ("4+1", 5), ("4 - -1", 5), ("4--1", 5), ("4++1", 5)],
)
def test_a_sign_after_an_operand_is_an_operator(text: str, number: int) -> None:
    assert value(text) == number
    assert value(text.replace("4", "a", 1), a=4) == number


def test_a_sign_apart_from_its_number_is_an_operator_too() -> None:
    assert parse("- 5").tree != parse("-5").tree
    assert value("- 5") == -5
    assert refusal("+ 5").column == 1


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("NOT a = b", "(NOT a) = b"),
        ("NOT a LIKE 'x'", "(NOT a) LIKE 'x'"),
        ("NOT a IN ('x')", "(NOT a) IN ('x')"),
        ("NOT NOT a", "NOT (NOT a)"),
        ("NOT EXISTS a", "NOT (EXISTS a)"),
        ("NOT -a", "NOT (-a)"),
        ("- NOT a", "-(NOT a)"),
        ("-a LIKE 'x'", "(-a) LIKE 'x'"),
        ("-a * b", "(-a) * b"),
        ("-LENGTH(a)", "-(LENGTH(a))"),
        ("a + b LIKE 'x'", "a + (b LIKE 'x')"),
        ("a * b IN (1)", "a * (b IN (1))"),
        ("a NOT LIKE 'x' = b", "(NOT (a LIKE 'x')) = b"),
        ("a = b NOT IN (1, 2)", "a = (NOT (b IN (1, 2)))"),
        ("a + b * c", "a + (b * c)"),
        ("a * b + c", "(a * b) + c"),
        ("a % b - c / d", "(a % b) - (c / d)"),
        ("a - b + c", "(a - b) + c"),
        ("a / b * c % d", "((a / b) * c) % d"),
        ("a + b = c - d", "(a + b) = (c - d)"),
        ("a < b = c", "(a < b) = c"),
        ("a = b AND c <> d", "(a = b) AND (c <> d)"),
        ("a OR b AND c", "(a OR b) AND c"),
        ("a XOR b OR c AND d", "((a XOR b) OR c) AND d"),
        ("a AND b OR c XOR d", "((a AND b) OR c) XOR d"),
        ("EXISTS a AND EXISTS b", "(EXISTS a) AND (EXISTS b)"),
        ("a <> b", "a != b"),
    ],
)
def test_operators_bind_in_the_order_of_precedence(text: str, read_as: str) -> None:
    assert parse(text).tree == parse(read_as).tree


def test_parentheses_group_what_would_bind_otherwise() -> None:
    assert parse("(a OR b) AND c").tree != parse("a OR (b AND c)").tree
    assert value("(1 + 2) * 3") == 9


def test_functions_take_expressions_and_nest() -> None:
    assert value("CONCAT(UPPER(id), 1 + 2, TRUE AND FALSE)", id="x") == "X3false"


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "a value, NOT, EXISTS, '-' or '('"),
        ("   ", 4, "a value, NOT, EXISTS, '-' or '('"),
        ("type = )", 8, "a value, NOT, EXISTS, '-' or '('"),
        ("type = 'a' AND", 15, "a value, NOT, EXISTS, '-' or '('"),
        ("= 'a'", 1, "a value, NOT, EXISTS, '-' or '('"),
        ("type 'a'", 6, "an operator or the end"),
        ("(type = 'a'", 12, "an operator or ')'"),
        ("type = 'a')", 11, "an operator or the end"),
        ("LENGTH(type", 12, "an operator, ',' or ')'"),
        ("LENGTH(type,)", 13, "a value, NOT, EXISTS, '-' or '('"),
        ("type IN 'a'", 9, "'('"),
        ("type IN ()", 10, "a value, NOT, EXISTS, '-' or '('"),
        ("type IN ('a' 'b')", 14, "an operator, ',' or ')'"),
        ("type LIKE id", 11, "a pattern in quotes"),
        ("type LIKE 5", 11, "a pattern in quotes"),
        ("type LIKE ('a')", 11, "a pattern in quotes"),
        ("type NOT 'a'", 10, "LIKE or IN"),
        ("EXISTS 'type'", 8, "an attribute's name"),
        ("EXISTS (type)", 8, "an attribute's name"),
        ("EXISTS and", 8, "an attribute's name"),
        ("my_ext = 1", 1, "an attribute's name, of letters and digits"),
        ("fn2(1)", 1, "a function's name, of letters and '_'"),
        ("_fn(1)", 1, "a function's name, of letters and '_'"),
        ("type = 'abc", 8, "' at its end"),
        ('type = "abc', 8, '" at its end'),
        (r"type = 'abc\'", 8, "' at its end"),
        ("type = 'it''s'", 12, "an operator or the end"),
        ("a && b", 3, "AND"),
        ("a || b", 3, "OR"),
        ("!a", 1, "NOT, or != with both characters together"),
        ("a == b", 4, "a value, NOT, EXISTS, '-' or '('"),
        ("data.total > 5", 5, "an operator or the end"),
        ("größe = 1", 3, "an operator or the end"),
        ("type\u00a0= 'a'", 5, "an operator or the end"),
    ],
)
def test_a_refusal_has_the_column_and_what_could_stand_there(
    text: str, column: int, expected: str
) -> None:
    refused = refusal(text)

    assert (refused.column, refused.expected) == (column, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "count = )",
            "unexpected ')' at column 9; expected a value, NOT, EXISTS, '-' or '('",
        ),
        ("id = ", "unexpected end at column 6; expected a value, NOT, EXISTS, '-' or '('"),
        ("id 'x'", "unexpected 'x' at column 4; expected an operator or the end"),
        ("id = 'x", "unclosed string at column 6; expected ' at its end"),
        ("id\u00a0= 1", "unexpected '\\xa0' (U+00A0) at column 3; expected an operator or the end"),
        ("id\x00= 1", "unexpected '\\x00' (U+0000) at column 3; expected an operator or the end"),
        ("id & 1", "unexpected '&' at column 4; expected AND"),
    ],
)
def test_a_refusal_reads_well(text: str, message: str) -> None:
    assert str(refusal(text)) == message


def test_a_refusal_is_an_error_of_the_mesh() -> None:
    assert isinstance(refusal("("), CemeshError)


def test_half_a_character_is_refused() -> None:
    refused = refusal("a = '\ud83c'")

    assert (refused.column, refused.expected) == (6, "a whole character")


def test_the_first_mistake_is_the_one_that_is_told() -> None:
    assert refusal("a = = 'never closed").column == 5


def test_columns_count_characters() -> None:
    assert refusal("'🎉🎉' = )").column == 8


def test_keywords_cannot_be_the_names_of_attributes() -> None:
    for keyword in ("and", "or", "xor", "not", "like", "in", "exists"):
        refusal(f"{keyword} = 1")
    assert value("true = 1") is True
