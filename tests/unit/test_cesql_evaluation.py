"""What operators and casts return: sections 3.1 to 3.4 and 3.7 of CESQL 1.0."""

from __future__ import annotations

import pytest

from broker.cesql import Evaluation, parse
from broker.cesql.values import ErrorKind

Value = str | int | bool


def evaluate(text: str, **attributes: Value) -> Evaluation:
    return parse(text).evaluate(attributes)


def outcome(text: str, **attributes: Value) -> tuple[Value, ErrorKind | None]:
    evaluation = evaluate(text, **attributes)
    return evaluation.value, evaluation.error.kind if evaluation.error else None


def value(text: str, **attributes: Value) -> Value:
    evaluation = evaluate(text, **attributes)
    assert evaluation.error is None
    return evaluation.value


def test_an_attribute_is_a_value_of_its_own_type() -> None:
    attributes: dict[str, Value] = {
        "subject": "a",
        "retries": 3,
        "urgent": True,
        "time": "2026-01-02T03:04:05Z",
    }

    for name, expected in attributes.items():
        assert value(name, **attributes) == expected
        assert type(value(name, **attributes)) is type(expected)


# Casts, section 3.7


def test_an_attribute_is_cast_from_its_own_type() -> None:
    assert value("LENGTH(a)", a=100) == 3
    assert value("LENGTH(a)", a=False) == 5
    assert value("a LIKE '10_'", a=100) is True
    assert value("a = '100'", a=100) is True
    assert value("a = 'true'", a=True) is True
    assert value("a AND a + 1 = 6", a=5) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STRING(0)", "0"),
        ("STRING(007)", "7"),
        ("STRING(-12)", "-12"),
        ("STRING(true)", "true"),
        ("STRING(FALSE)", "false"),
        ("STRING('As Is')", "As Is"),
        ("BOOL(0)", False),
        ("BOOL(1)", True),
        ("BOOL(-3)", True),
        ("BOOL('tRuE')", True),
        ("BOOL('FALSE')", False),
        ("BOOL(TRUE)", True),
        ("INT(TRUE)", 1),
        ("INT(false)", 0),
        ("INT('12')", 12),
        ("INT('+12')", 12),
        ("INT('-0012')", -12),
        ("INT('00000000000000000009')", 9),
        ("INT('2147483647')", 2147483647),
        ("INT('-2147483648')", -2147483648),
        ("INT(5)", 5),
    ],
)
def test_every_type_is_cast_to_every_other(text: str, expected: Value) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize(
    "content",
    ["", "x", "1.0", "1e3", " 1", "1 ", "1_000", "--1", "+", "-", "٣", "0x1", "2147483648",
     "-2147483649", "99999999999999999999"],
)  # fmt: skip
def test_a_string_that_is_no_integer_of_32_bits_is_cast_to_0_with_an_error(content: str) -> None:
    assert outcome("INT(a)", a=content) == (0, "cast")


@pytest.mark.parametrize("content", ["", "1", "0", "yes", "true ", "t", "tru\u0435"])
def test_a_string_that_is_no_boolean_is_cast_to_false_with_an_error(content: str) -> None:
    assert outcome("BOOL(a)", a=content) == (False, "cast")


# Unary operators, section 3.4.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NOT TRUE", False),
        ("NOT FALSE", True),
        ("NOT 'true'", False),
        ("NOT 'False'", True),
        ("NOT 0", True),
        ("NOT 10", False),
        ("-(5)", -5),
        ("-'12'", -12),
        ("-TRUE", -1),
        ("--3", 3),
        ("- -2147483647", 2147483647),
    ],
)
def test_unary_operators_cast_their_operand(text: str, expected: Value) -> None:
    assert value(text) == expected


def test_the_smallest_integer_has_no_opposite() -> None:
    assert outcome("- -2147483648") == (0, "math")


# Binary operators, section 3.4.2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 + 5", 12),
        ("7 - 12", -5),
        ("7 * -6", -42),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("-7 / -2", 3),
        ("7 % 3", 1),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("-7 % -3", -1),
        ("6 % 3", 0),
        ("'7' + '5'", 12),
        ("TRUE + TRUE", 2),
        ("2 - 3 - 4", -5),
        ("100 / 10 / 5", 2),
        ("2147483646 + 1", 2147483647),
        ("-2147483647 - 1", -2147483648),
    ],
)
def test_arithmetic_is_of_integers_and_rounds_towards_zero(text: str, expected: Value) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2147483647 + 1",
        "-2147483648 - 1",
        "65536 * 32768",
        "-2147483648 / -1",
        "5 / 0",
        "5 % 0",
        "0 / '0'",
    ],
)
def test_arithmetic_that_has_no_integer_result_is_0_with_a_math_error(text: str) -> None:
    assert outcome(text) == (0, "math")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'a' = 'a'", True),
        ("'a' = 'A'", False),
        ("1 = 1", True),
        ("1 = 2", False),
        ("TRUE = true", True),
        ("TRUE = FALSE", False),
        ("'a' != 'a'", False),
        ("'a' <> 'b'", True),
        ("1 != 2", True),
        ("TRUE <> TRUE", False),
    ],
)
def test_equality_compares_values_of_one_type(text: str, expected: Value) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'1' = 1", True),
        ("'01' = 1", True),
        ("1 = '01'", False),
        ("TRUE = 'TRUE'", False),
        ("'TRUE' = TRUE", True),
        ("TRUE = 1", True),
        ("5 = TRUE", True),
        ("TRUE = 5", False),
        ("'01' != 1", False),
        ("1 <> '01'", True),
    ],
)
def test_equality_casts_the_left_side_to_the_type_of_the_right_one(
    text: str, expected: Value
) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    ("right", "expected"), [("05", False), (5, True), (True, False), ("5", True)]
)
def test_equality_goes_by_the_type_that_an_attribute_on_the_right_has(
    right: Value, expected: bool
) -> None:
    evaluation = evaluate("a = b", a="5", b=right)

    assert evaluation.value is expected
    assert (evaluation.error is None) is (right is not True)


def test_equality_of_what_cannot_be_cast_is_false_with_an_error() -> None:
    assert outcome("'a' = 1") == (False, "cast")
    assert outcome("'a' != 1") == (False, "cast")
    assert outcome("'a' = TRUE") == (False, "cast")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 < 2", True),
        ("2 < 2", False),
        ("2 <= 2", True),
        ("3 <= 2", False),
        ("3 > 2", True),
        ("2 > 2", False),
        ("2 >= 2", True),
        ("1 >= 2", False),
        ("'9' < '10'", True),
        ("FALSE < TRUE", True),
        ("-1 < '+1'", True),
    ],
)
def test_order_is_of_integers(text: str, expected: Value) -> None:
    assert value(text) is expected


def test_strings_that_are_no_integers_have_no_order() -> None:
    assert outcome("'a' < 'b'") == (False, "cast")


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("AND", [False, False, False, True]),
        ("OR", [False, True, True, True]),
        ("XOR", [False, True, True, False]),
    ],
)
def test_logic_follows_its_truth_table(operator: str, expected: list[bool]) -> None:
    sides = [("FALSE", "FALSE"), ("FALSE", "TRUE"), ("TRUE", "FALSE"), ("TRUE", "TRUE")]

    assert [value(f"{left} {operator} {right}") for left, right in sides] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 AND 'TRUE'", True),
        ("'false' OR 0", False),
        ("2 XOR 'true'", False),
        ("TRUE AND TRUE AND FALSE", False),
        ("TRUE AND TRUE AND TRUE", True),
        ("FALSE OR FALSE OR FALSE", False),
        ("FALSE OR FALSE OR TRUE", True),
        ("TRUE XOR TRUE XOR TRUE", True),
        ("TRUE XOR TRUE XOR FALSE", False),
    ],
)
def test_logic_casts_its_operands_and_goes_on_in_runs(text: str, expected: Value) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FALSE AND 1 / 0 = 1", (False, None)),
        ("TRUE AND FALSE AND missing", (False, None)),
        ("TRUE OR 1 / 0 = 1", (True, None)),
        ("FALSE OR TRUE OR missing", (True, None)),
        ("TRUE AND 1 / 0 = 1", (False, "math")),
        ("FALSE OR 1 / 0 = 1", (False, "math")),
        ("1 / 0 = 1 AND FALSE", (False, "math")),
        ("missing OR TRUE", (False, "missingAttribute")),
        ("FALSE XOR missing", (False, "missingAttribute")),
        ("missing XOR FALSE", (False, "missingAttribute")),
    ],
)
def test_and_and_or_stop_where_the_left_side_decides_and_xor_never(
    text: str, expected: tuple[Value, ErrorKind | None]
) -> None:
    assert outcome(text) == expected


# LIKE, EXISTS and IN, sections 3.4.3 to 3.4.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'order.placed' LIKE 'order.%'", True),
        ("'order.placed' LIKE 'Order.%'", False),
        ("'order.placed' NOT LIKE 'order.%'", False),
        ("'order.placed' NOT LIKE '%.paid'", True),
        ("2026 LIKE '20__'", True),
        ("-12 LIKE '-%'", True),
        ("TRUE LIKE 't%e'", True),
        ("FALSE LIKE 'FALSE'", False),
        ("'com.order.paid' LIKE 'com.%.paid'", True),
        ("'com.order.sent' LIKE 'com.%.paid'", False),
        (r"'100%' LIKE '100\%'", True),
        (r"'1000' LIKE '100\%'", False),
    ],
)
def test_like_matches_the_text_of_any_value(text: str, expected: Value) -> None:
    assert value(text) is expected


def test_exists_is_whether_the_event_has_the_attribute_and_never_errs() -> None:
    for name in ("specversion", "id", "source", "type", "myext"):
        assert value(f"EXISTS {name}", specversion="1.0", id="1", source="/", type="t", myext="")
    assert value("EXISTS subject", id="1") is False
    assert value("NOT EXISTS subject", id="1") is True
    assert value("EXISTS 123") is False
    assert value("EXISTS 123", **{"123": "x"}) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'b' IN ('a', 'b')", True),
        ("'B' IN ('a', 'b')", False),
        ("'b' NOT IN ('a', 'b')", False),
        ("'c' NOT IN ('a', 'b')", True),
        ("2 IN (1, 2, 3)", True),
        ("4 IN (1, 2, 3)", False),
        ("TRUE IN (FALSE)", False),
        ("2 IN ('02', 'x')", True),
        ("'02' IN (2)", False),
        ("'2' IN (2)", True),
        ("'true' IN (TRUE)", True),
        ("'TRUE' IN (TRUE)", False),
        ("TRUE IN ('TRUE')", True),
        ("TRUE IN (7)", True),
        ("7 IN (TRUE)", False),
        ("3 IN (1 + 1, 1 + 2)", True),
    ],
)
def test_in_casts_the_elements_to_the_type_of_the_left_side(text: str, expected: Value) -> None:
    assert value(text) is expected


def test_in_takes_attributes_on_both_sides_whatever_their_type() -> None:
    assert value("a IN ('x', b)", a="y", b="y") is True
    assert value("a IN (1, 2)", a="2") is True
    assert value("a IN (1, 2)", a=2) is True
    assert value("a IN ('1', '2')", a=2) is True
    assert value("a IN ('x', TRUE)", a="true") is True


def test_in_looks_at_its_elements_from_left_to_right_and_stops_at_an_equal_one() -> None:
    assert outcome("1 IN (1, 'x', missing)") == (True, None)
    assert outcome("1 IN ('x', 1)") == (False, "cast")
    assert outcome("1 IN (missing, 1)") == (False, "missingAttribute")


# Errors, section 3.3, and missing attributes, section 3.2


@pytest.mark.parametrize(
    ("text", "zero"),
    [
        ("missing", False),
        ("missing = 'a'", False),
        ("missing != 'a'", False),
        ("'a' <> missing", False),
        ("missing < 5", False),
        ("missing + 5", 0),
        ("5 / missing", 0),
        ("missing % 0", 0),
        ("-missing", 0),
        ("NOT missing", False),
        ("NOT (missing = 'a')", False),
        ("missing LIKE '%'", False),
        ("missing NOT LIKE 'a'", False),
        ("missing IN ('a')", False),
        ("missing NOT IN ('a')", False),
        ("LENGTH(missing)", 0),
        ("UPPER(missing)", ""),
        ("BOOL(missing)", False),
        ("CONCAT('a', missing)", ""),
    ],
)
def test_a_missing_attribute_gives_the_zero_value_of_what_reads_it_and_an_error(
    text: str, zero: Value
) -> None:
    assert outcome(text, id="1") == (zero, "missingAttribute")
    assert type(evaluate(text).value) is type(zero)


def test_an_empty_attribute_is_not_missing() -> None:
    assert value("a = ''", a="") is True
    assert value("LENGTH(a)", a="") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("missing + 1 / 0", (0, "missingAttribute")),
        ("1 / 0 + missing", (0, "math")),
        ("NOPE(missing) = 1", (False, "missingFunction")),
        ("'x' + missing", (0, "cast")),
        ("'x' = 1 AND missing", (False, "cast")),
        ("ABS(-2147483648) = 2147483647", (False, "math")),
        ("LEFT(LEFT('abc', -1), 2)", ("", "functionEvaluation")),
        ("LENGTH(LEFT('abc', -1))", (0, "functionEvaluation")),
        ("1 + 1 / 0", (0, "math")),
    ],
)
def test_the_first_error_ends_the_evaluation_with_the_zero_value(
    text: str, expected: tuple[Value, ErrorKind | None]
) -> None:
    assert outcome(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing = 1", "no attribute 'missing'"),
        ("'abc' + 1", 'cast: "abc" is no integer'),
        ("'3000000000' + 1", 'cast: "3000000000" is no integer of 32 bits'),
        ("NOT 'perhaps'", 'cast: "perhaps" is no boolean'),
        ("1 / 0", "math: division by zero"),
        ("2147483647 + 1", "math: 2147483647 + 1 is no integer of 32 bits"),
        ("- -2147483648", "math: -(-2147483648) is no integer of 32 bits"),
        ("ABS(-2147483648)", "math: ABS of -2147483648 is no integer of 32 bits"),
        ("NOPE(1, 2)", "no function NOPE with 2 arguments"),
        ("nope(1)", "no function NOPE with 1 argument"),
        ("LENGTH()", "no function LENGTH without arguments"),
        ("LEFT('a', -1)", "LEFT: the length -1 is negative"),
        ("SUBSTRING('abc', 9)", 'SUBSTRING: "abc" has no position 9'),
        (f"'{'x' * 200}' + 1", f'cast: "{"x" * 128}…" is no integer'),
        ("'a\"b\n' + 1", 'cast: "a\\"b\\n" is no integer'),
    ],
)
def test_an_error_says_what_is_wrong(text: str, message: str) -> None:
    assert str(evaluate(text).error) == message


def test_evaluating_leaves_the_attributes_alone_and_gives_the_same_each_time() -> None:
    attributes: dict[str, Value] = {"a": "5", "b": 5}
    expression = parse("INT(a) = b AND NOT missing")

    first, second = expression.evaluate(attributes), expression.evaluate(attributes)

    assert first == second
    assert attributes == {"a": "5", "b": 5}
