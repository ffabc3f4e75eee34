"""LIKE patterns: section 3.4.3 of CESQL 1.0."""

from __future__ import annotations

import pytest

from broker.cesql import Pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("order", ["order"], ["", "Order", "orders", "an order"]),
        ("", [""], ["a"]),
        ("%", ["", "a", "two\nlines"], []),
        ("%%", ["", "a"], []),
        ("_", ["a", "🎉", "\n"], ["", "ab"]),
        ("__", ["ab"], ["a", "abc"]),
        ("com.%", ["com.", "com.shop"], ["com", "xcom.shop"]),
        ("%.paid", [".paid", "order.paid"], ["order.paid.x", "orderpaid"]),
        ("com.%.paid", ["com..paid", "com.order.paid"], ["com.paid", "com.order.paid2"]),
        ("%order%", ["order", "reordered"], ["ordr"]),
        ("a_c", ["abc", "a_c", "a%c"], ["ac", "abbc"]),
        ("_bc", ["abc"], ["bc", "aabc"]),
        ("ab_", ["abc"], ["ab", "abcc"]),
        ("_%", ["a", "ab"], [""]),
        ("%_", ["a", "ab"], [""]),
        ("_%_", ["ab", "abc"], ["", "a"]),
        ("a%_%b", ["axb", "axxb"], ["ab"]),
        ("aba%aba", ["abaaba", "abacaba"], ["aba", "ababa"]),
        ("%a_c%", ["abc", "xxabc", "aacaxc"], ["ac", "abdc"]),
        ("%a%_b%", ["aab", "axxb"], ["ab", "xab"]),
        ("%ab%ab%", ["abab", "xabyabz"], ["ab", "aba"]),
        ("%a__%b", ["axyb", "zaxyzb"], ["ab", "axb", "zaxb"]),
        ("%a_c_e%x", ["abcdex", "abcabcdeyx"], ["abcdey", "abcex"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[a-z]*(b)$", ["[a-z]*(b)$"], ["ab"]),
    ],
)
def test_a_pattern_matches_whole_texts(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    assert [text for text in matching if not Pattern(pattern).matches(text)] == []
    assert [text for text in others if Pattern(pattern).matches(text)] == []


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (r"100\%", ["100%"], ["100", "1000", r"100\%"]),
        (r"a\_b", ["a_b"], ["acb", r"a\_b"]),
        (r"\%%", ["%", "%a"], ["", "a"]),
        (r"%\_", ["_", "a_"], ["a"]),
        (r"a\b", [r"a\b"], ["ab"]),
        (r"a\\b", [r"a\\b"], [r"a\b"]),
        (r"a\\%", [r"a\%"], [r"a\\", r"a\b"]),
        ("a\\", ["a\\"], ["a"]),
    ],
)
def test_a_backslash_escapes_wildcards_and_nothing_else(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    assert [text for text in matching if not Pattern(pattern).matches(text)] == []
    assert [text for text in others if Pattern(pattern).matches(text)] == []


@pytest.mark.parametrize("filler", ["", "b" * 50, "ab" * 50, "aab" * 50, "a_" * 50, "é🎉" * 50])
def test_a_chunk_with_wildcards_is_found_however_many_places_only_begin_like_it(
    filler: str,
) -> None:
    pattern = Pattern("%a_c_____________f%g")

    assert pattern.matches(f"{filler}axcabcdefghijklmf--g")
    assert not pattern.matches(f"{filler}axcabcdefghijklm-f--g")
    assert not pattern.matches(f"{filler}axcabcdefghijklmf--")


def test_a_long_chunk_is_found_behind_many_that_fail_only_at_its_end() -> None:
    chunk = "_a" * 100 + "_b"
    near = "a" * 201 + "c"

    assert Pattern(f"%{chunk}%").matches(near * 40 + "a" * 201 + "b" + near * 40)
    assert not Pattern(f"%{chunk}%").matches(near * 80)
    assert Pattern(f"%{chunk}%{chunk}").matches((near * 3 + "a" * 201 + "b") * 2)
    assert not Pattern(f"%{chunk}%{chunk}%").matches(near * 40 + "a" * 201 + "b" + near * 40)


def test_where_only_a_few_places_are_left_each_is_tried() -> None:
    chunk = "x_" + "abcdefgh" * 12
    starts, near, whole = "x..x..", f"x.{'abcdefgh' * 11}abc", f"x.{'abcdefgh' * 12}"

    assert Pattern(f"%{chunk}%").matches(starts + near + near + whole + "z")
    assert not Pattern(f"%{chunk}%").matches(starts + near + near + near + "z")


def test_the_wildcards_at_the_end_of_a_chunk_need_their_room() -> None:
    chunk = "x_" + "abcdefgh" * 12 + "__"
    text = f"x..x..x.{'abcdefgh' * 12}"

    assert Pattern(f"%{chunk}%!").matches(text + "..!")
    assert not Pattern(f"%{chunk}%!").matches(text + ".!")


@pytest.mark.parametrize(
    ("source", "prefix", "suffix", "literal", "is_prefix", "is_suffix"),
    [
        ("abc", "abc", "abc", "abc", False, False),
        ("", "", "", "", False, False),
        ("abc%", "abc", "", None, True, False),
        ("abc%%", "abc", "", None, True, False),
        ("%abc", "", "abc", None, False, True),
        ("%", "", "", None, True, True),
        ("a%b", "a", "b", None, False, False),
        ("a%b%", "a", "", None, False, False),
        ("%a%", "", "", None, False, False),
        ("a_", "a", "", None, False, False),
        ("_a", "", "a", None, False, False),
        ("a_b", "a", "b", None, False, False),
        ("a_%", "a", "", None, False, False),
        ("%_a", "", "a", None, False, False),
        ("_", "", "", None, False, False),
        (r"50\%", "50%", "50%", "50%", False, False),
        (r"50\%%", "50%", "", None, True, False),
        (r"%\_x", "", "_x", None, False, True),
        (r"a\b%", r"a\b", "", None, True, False),
    ],
)
def test_a_pattern_tells_its_fixed_parts(
    source: str, prefix: str, suffix: str, literal: str | None, is_prefix: bool, is_suffix: bool
) -> None:
    pattern = Pattern(source)

    assert (pattern.prefix, pattern.suffix, pattern.literal) == (prefix, suffix, literal)
    assert (pattern.is_prefix, pattern.is_suffix) == (is_prefix, is_suffix)


def test_patterns_are_values() -> None:
    assert Pattern("a%") == Pattern("a%")
    assert hash(Pattern("a%")) == hash(Pattern("a%"))
    assert Pattern("a%") != Pattern("a%%")
    assert repr(Pattern("a%")) == "Pattern(source='a%')"
