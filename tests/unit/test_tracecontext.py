"""Trace contexts as text: what is read, and what is passed over."""

from __future__ import annotations

import pytest

from broker.tracecontext import headers_of, joined, of_headers, read

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_context_is_written_as_it_was_read() -> None:
    text = f"{PARENT} vendor=a b,other=c"

    context = read(text)

    assert context == (TRACE, SPAN, 1, "vendor=a b,other=c")
    assert str(context) == text
    assert headers_of(text) == [("traceparent", PARENT), ("tracestate", "vendor=a b,other=c")]
    assert headers_of(PARENT) == [("traceparent", PARENT)]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "01",
        PARENT.upper(),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{PARENT}-more",
        f"{PARENT}\n",
        f"00-{TRACE}-{SPAN}-1",
    ],
)
def test_what_is_no_traceparent_is_passed_over(text: str | None) -> None:
    assert read(text) is None


def test_of_a_later_version_what_is_known_is_read() -> None:
    assert str(read(f"cc-{TRACE}-{SPAN}-00-what-will-be")) == f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize("state", ["a=1\r\nx: y", "é=1", "a" * 513, " a=1", "a=1 "])
def test_a_tracestate_that_is_wrong_is_left_out(state: str) -> None:
    assert joined(PARENT, state) == PARENT


def test_several_tracestates_of_a_request_are_one_and_several_traceparents_none() -> None:
    parent, states = ("traceparent", PARENT), [("tracestate", "a=1"), ("tracestate", "b=2")]

    assert of_headers([*states, parent]) == f"{PARENT} a=1,b=2"
    assert of_headers([parent, parent]) is None
    assert of_headers(states) is None
