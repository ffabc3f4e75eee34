from __future__ import annotations

import pytest

from broker.app.heads import Judge, Unusual, read

CONTEXT = ["ce-specversion: 1.0", "Ce-Id: 1", "CE-SOURCE:/x", "ce-type: \tt "]
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t"}


def head(*lines: str, first: str = "POST /default/orders HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: test", *lines]).encode("latin-1")


def test_an_ordinary_head_tells_path_length_and_attributes() -> None:
    read_twice = [
        read(head("Content-Type: text/plain", *CONTEXT, "content-length: 12")) for _ in range(2)
    ]

    expected = ("/default/orders", 12, {**ATTRIBUTES, "datacontenttype": "text/plain"})
    assert read_twice == [expected, expected]
    assert [*read_twice[1][2]][-1] == "datacontenttype"  # in the codec's order


def test_where_the_body_tells_the_attributes_the_head_tells_how() -> None:
    told = read(head("content-type: application/cloudevents+json", "ce-id: ignored"))

    assert told == ("/default/orders", 0, {"datacontenttype": "application/cloudevents+json"})


def test_a_path_is_decoded_and_rid_of_its_query() -> None:
    assert read(head(*CONTEXT, first="POST /a%20b/c?d HTTP/1.1"))[0] == "/a b/c"


def test_a_connection_that_is_to_go_on_is_nothing_unusual() -> None:
    assert read(head(*CONTEXT, "Connection: Keep-Alive"))[2] == ATTRIBUTES


@pytest.mark.parametrize(
    "lines",
    [
        CONTEXT[1:],
        [*CONTEXT, "ce-id: 1"],
        [*CONTEXT, "ce-note: a%20b"],
        [*CONTEXT, "ce-note: a b"],
        [*CONTEXT, 'ce-note: "a"'],
        [*CONTEXT, "ce-note: \xe9"],
        [*CONTEXT, "ce-no_te: a"],
        [*CONTEXT, "ce-time: yesterday"],
        [*CONTEXT, "ce-datacontenttype: text/plain"],
        [*CONTEXT, "content-type: none"],
        [*CONTEXT, "content-type: a/b", "content-type: a/b"],
        [*CONTEXT, "content-length: +1"],
        [*CONTEXT, "content-length: 1", "content-length: 1"],
        [*CONTEXT, "content-encoding: identity"],
        [*CONTEXT, "transfer-encoding: chunked"],
        [*CONTEXT, "connection: close"],
        [*CONTEXT, "connection: upgrade", "upgrade: h2c"],
        [*CONTEXT, "expect: 100-continue"],
        [*CONTEXT, "authorization: Bearer not-to-be-remembered"],
    ],
)
def test_whatever_else_a_head_says_is_read_with_more_care(lines: list[str]) -> None:
    for _ in range(2):  # what was refused once is not remembered as good
        with pytest.raises(Unusual):
            read(head(*lines))


@pytest.mark.parametrize(
    "first",
    [
        "GET /default/orders HTTP/1.1",
        "POST /default/orders HTTP/1.0",
        "POST  HTTP/1.1",
        "POST /default/orders",
        "",
        f"POST /{'a' * 300} HTTP/1.1",
    ],
)
def test_another_request_line_is_read_with_more_care(first: str) -> None:
    with pytest.raises(Unusual):
        read(head(*CONTEXT, first=first))


@pytest.mark.parametrize(
    "line", ["x: a\nce-id: 2", "x: a\rb", "x : a", "x", " x: a", "x: a\x00", "content-length: 1_0"]
)
def test_the_judge_knows_what_is_no_http(line: str) -> None:
    judge = Judge()

    assert not judge.agrees(head(line) + b"\r\n\r\n")
    assert judge.agrees(head() + b"\r\n\r\n")


def test_the_judge_wants_one_request_and_no_more() -> None:
    judge = Judge()
    request = head("content-length: 2") + b"\r\n\r\n"

    assert judge.agrees(request + b"ab")
    assert not judge.agrees(request + b"a")
    assert not judge.agrees(request + b"ab" + request + b"ab")
    assert judge.agrees(request + b"ab")
