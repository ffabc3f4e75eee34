"""Whatever a subscriber sends, in whatever pieces: an answer or `NoAnswer`, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sinks.http import HttpClient, NoAnswer, Response
from sinks.http.address import parse
from sinks.http.client import begun_head, whole_head
from sinks.http.prompt import Came
from sinks.http.proxy import Proxy, Tunnel
from sinks.http.reader import MAX_BODY, ResponseReader
from tests.services.subscribers import Subscriber, hang, raw

LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.0 503\r\n",
        b"HTTP/1.1 099 ?\r\n",
        b"HTTP/2 200\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Connection: close\r\n",
        b"Empty:\r\n",
        b": nameless\r\n",
        b" folded\r\n",
        b"\xff: \xff\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"5;extension\r\nhello\r\n",
        b"0\r\n",
        b"ffffffffffffffffff\r\n",
        b"hello",
    ]
)
STREAMS = st.lists(st.one_of(LINES, st.binary(max_size=20)), max_size=12).map(b"".join)
PIECES = st.lists(st.integers(1, 40), max_size=20)


def cut(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(stream[:size])
        stream = stream[size:]
    return [piece for piece in [*pieces, stream] if piece]


def read(pieces: Sequence[bytes]) -> Response | str:
    reader = ResponseReader()
    try:
        for piece in pieces:
            response = reader.feed(piece)
            if response is not None:
                return response
        return reader.end()
    except NoAnswer as error:
        return error.reason


@given(STREAMS, PIECES)
@settings(max_examples=500)
def test_any_bytes_are_an_answer_or_none(stream: bytes, sizes: list[int]) -> None:
    answer = read(cut(stream, sizes))

    if isinstance(answer, Response):
        assert not 100 <= answer.status < 200
        assert len(answer.body) <= MAX_BODY


@given(STREAMS, PIECES)
@settings(max_examples=500)
@example(b"HTTP/1.1 200 OK\r\nA:\r\nB: \xff\r\nContent-Length: 5\r\n\r\nhello", [1] * 60)
def test_an_answer_does_not_depend_on_how_the_bytes_are_cut(
    stream: bytes, sizes: list[int]
) -> None:
    whole, pieces = read([stream] if stream else []), read(cut(stream, sizes))

    # What is wrong behind an answer is found sooner or later, or never, as the bytes come.
    assert isinstance(whole, Response) == isinstance(pieces, Response)
    if isinstance(whole, Response):
        assert pieces == whole


@given(
    status=st.integers(200, 599).filter(lambda status: status not in {204, 304}),
    headers=st.lists(
        st.tuples(
            st.from_regex(r"[a-z-]{1,10}", fullmatch=True).filter(lambda name: name[0] == "x"),
            st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10),
        )
    ),
    body=st.binary(max_size=100),
    sizes=PIECES,
)
def test_what_was_answered_is_what_is_read(
    status: int, headers: list[tuple[str, str]], body: bytes, sizes: list[int]
) -> None:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()

    answer = read(cut(head + body, sizes))

    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (status, body)
    given = [(name.encode(), value.encode()) for name, value in headers]
    assert list(answer.headers[:-1]) == given


@given(STREAMS, st.booleans())
@settings(max_examples=50)
def test_over_a_socket_too_there_is_no_hang_and_no_other_exception(
    stream: bytes, closes: bool
) -> None:
    async def ask_twice() -> None:
        async with Subscriber() as subscriber, HttpClient() as client:
            url = subscriber.answers("/", [(raw if closes else hang)(stream)])
            for _ in range(2):
                with contextlib.suppress(NoAnswer):
                    await client.request("POST", url, timeout=timedelta(milliseconds=20))

    asyncio.run(ask_twice())


@given(STREAMS.filter(bool))
@settings(max_examples=50)
def test_what_is_told_of_a_request_that_was_begun_is_what_any_request_is_told(
    stream: bytes,
) -> None:
    async def ask_both_ways() -> tuple[Response | str | None, Response | str | None]:
        async with Subscriber() as subscriber, HttpClient() as client:
            url = subscriber.answers("/", [200, raw(stream), 200, raw(stream)])
            await client.request("POST", url, timeout=timedelta(seconds=10))
            asked: Response | str
            try:
                asked = await client.request("POST", url, timeout=timedelta(seconds=10))
            except NoAnswer as error:
                asked = error.reason
            await subscriber.all_closed()
            await client.request("POST", url, timeout=timedelta(seconds=10))
            return asked, await begun(client, url)

    asked, told = asyncio.run(ask_both_ways())

    assert told == asked


async def begun(client: HttpClient, url: str) -> Response | str | None:
    came: asyncio.Future[Came] = asyncio.get_running_loop().create_future()
    address = parse(url)
    head = whole_head(begun_head("POST", address, ()), (), 0)
    begun = client.begin(address, head, b"", timedelta(seconds=10), came.set_result)
    assert begun is not None
    told = await came
    return told.reason if isinstance(told, NoAnswer) else told


@given(STREAMS, PIECES)
def test_whatever_a_proxy_says_there_is_a_tunnel_or_no_answer(
    stream: bytes, sizes: list[int]
) -> None:
    async def asked() -> None:
        tunnel = Tunnel(Proxy(host="proxy.test", port=3128), "a.test", 80)
        for piece in cut(stream, sizes):
            tunnel.data_received(piece)
        tunnel.connection_lost(None)

        failure = tunnel.opened.exception()
        if failure is None:
            assert re.match(rb"HTTP/1\.[01] 2\d\d", stream)
        else:
            assert isinstance(failure, NoAnswer)

    asyncio.run(asked())
