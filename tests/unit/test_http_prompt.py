from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

import pytest

import sinks.http.sink
from broker.event import Event
from broker.policy import Consent, Credentials, Network, OAuth2, Signing, Timeouts
from broker.ports import Accepted, Answer, PromptSink, Refused, SinkOptions, Told, Underway
from broker.trigger import Target
from sinks.http import HttpClient, HttpSinks, NoAnswer, Response
from sinks.http.address import Address, Route, parse
from sinks.http.client import begun_head, whole_head
from sinks.http.connection import Connection
from sinks.http.prompt import Came, Prompt
from sinks.http.reader import MAX_BODY
from tests.services.certificates import make_certificates
from tests.services.subscribers import (
    Request,
    Script,
    Send,
    Subscriber,
    after,
    chunked,
    close,
    early,
    endless,
    hang,
    raw,
    reply,
    reset,
    until_close,
)
from tests.unit.meshes import until

SOON = timedelta(minutes=1)
A_MOMENT = timedelta(milliseconds=500)
"""Enough to have begun by then."""

OK = b"HTTP/1.1 200 OK\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as entered:
        yield entered


@dataclass
class Begun:
    """A request that was begun, and all that was told of it."""

    address: Address
    head: bytes
    body: bytes
    prompt: Prompt | None = None
    told: list[Came] = field(default_factory=list)

    async def came(self) -> Came:
        await until(lambda: bool(self.told))
        (came,) = self.told
        return came

    async def response(self) -> Response:
        came = await self.came()
        assert isinstance(came, Response), came
        return came

    async def reason(self) -> str:
        came = await self.came()
        assert isinstance(came, NoAnswer), came
        return came.reason


def try_to_begin(
    client: HttpClient,
    url: str,
    body: bytes = b"",
    *,
    within: timedelta = SOON,
    route: Route = Route(),
) -> Begun:
    address = parse(url, route)
    head = whole_head(begun_head("POST", address, ()), (), len(body))
    begun = Begun(address, head, body)
    begun.prompt = client.begin(address, head, body, within, begun.told.append)
    return begun


async def begin(
    client: HttpClient,
    url: str,
    body: bytes = b"",
    *,
    within: timedelta = SOON,
    route: Route = Route(),
) -> Begun:
    """Begin a request over a connection that a first request left at rest."""
    await client.request("POST", url, timeout=SOON, route=route)
    begun = try_to_begin(client, url, body, within=within, route=route)
    assert begun.prompt is not None
    return begun


# --- answers -------------------------------------------------------------------------------


async def test_without_a_connection_at_rest_nothing_is_begun(
    subscriber: Subscriber, client: HttpClient
) -> None:
    begun = try_to_begin(client, subscriber.url())

    assert begun.prompt is None
    assert subscriber.connections == 0


async def test_a_connection_at_rest_serves_one_request_after_the_other(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [200, reply(200, body=b"x"), chunked(503, chunks=[b"x"]), 204])
    await client.request("POST", url, timeout=SOON)

    statuses = [(await try_to_begin(client, url).response()).status for _ in range(4)]
    last = await client.request("POST", url, timeout=SOON)

    assert [*statuses, last.status] == [200, 503, 204, 204, 204]
    assert subscriber.connections == 1


async def test_the_time_of_one_request_does_not_end_the_next(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    url = subscriber.answers("/", [200, 200, after(go, 204)])
    await (await begin(client, url, within=timedelta(seconds=1))).response()

    begun = try_to_begin(client, url)
    await asyncio.sleep(1)  # the time of the first one has run out
    go.set()

    assert (await begun.response()).status == 204
    assert subscriber.connections == 1


async def test_a_connection_in_use_serves_no_second_request(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    begun = await begin(client, subscriber.answers("/", [200, after(go, 204)]))

    second = try_to_begin(client, subscriber.url())
    go.set()

    assert second.prompt is None
    assert (await begun.response()).status == 204


@pytest.mark.parametrize(
    ("script", "body"),
    [
        (until_close(200, body=b"hello"), b"hello"),
        (reply(200, {"Connection": "close"}, b"hello"), b"hello"),
        (raw(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), b"hello"),
        (hang(NO_CONTENT + NO_CONTENT), b""),
        (hang(NO_CONTENT + b"surplus"), b""),
    ],
    ids=["until close", "Connection: close", "HTTP/1.0", "a second answer", "surplus bytes"],
)
async def test_a_connection_that_cannot_be_trusted_any_more_does_not_go_back_to_rest(
    subscriber: Subscriber, client: HttpClient, script: Script, body: bytes
) -> None:
    begun = await begin(client, subscriber.answers("/", [200, script]))

    assert (await begun.response()).body == body

    assert try_to_begin(client, subscriber.url()).prompt is None
    await subscriber.all_closed()


async def test_interim_answers_are_skipped(subscriber: Subscriber, client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    script = Script((Send(interim), Send(NO_CONTENT)))
    url = subscriber.answers("/", [200, script, 201])

    response = await (await begin(client, url)).response()
    next_response = await try_to_begin(client, url).response()

    assert (response.status, list(response.headers)) == (204, [])
    assert next_response.status == 201
    assert subscriber.connections == 1


async def test_a_large_body_arrives_byte_for_byte_and_the_connection_is_used_again(
    subscriber: Subscriber, client: HttpClient
) -> None:
    body = bytes(range(256)) * 8192

    await (await begin(client, subscriber.url(), body)).response()
    await try_to_begin(client, subscriber.url(), b"small").response()

    assert [each.body for each in subscriber.received] == [b"", body, b"small"]
    assert subscriber.connections == 1


async def test_an_answer_that_comes_before_all_is_sent_is_taken_and_ends_the_connection(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    wait_on = Script((*reply(413).actions, *after(go, 200).actions), early=True)
    url = subscriber.answers("/", [200, wait_on])

    begun = await begin(client, url, bytes(32 << 20))

    assert (await begun.response()).status == 413
    assert try_to_begin(client, url).prompt is None
    go.set()
    await subscriber.all_closed()


async def test_an_answer_and_the_end_of_the_connection_at_once_is_an_answer(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [200, early(reply(413, body=b"too large"))])

    begun = await begin(client, url, bytes(16 << 20))

    assert (await begun.response()).body == b"too large"


async def test_a_body_beyond_the_bound_is_cut_and_ends_the_connection(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [200, reply(200, body=bytes(MAX_BODY + 1))])

    response = await (await begin(client, url)).response()

    assert (len(response.body), response.truncated) == (MAX_BODY, True)
    assert try_to_begin(client, url).prompt is None


# --- no answer -----------------------------------------------------------------------------

WORDLESS = {
    "in the headers": raw(OK + b"Content-"),
    "in the body": raw(OK + b"Content-Length: 5\r\n\r\nhell"),
    "after an interim answer": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "another protocol": raw(b"SSH-2.0-OpenSSH\r\n"),
    "headers without end": endless(OK + b"X: ", b"x" * 4096),
    "padding without end": endless(
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536
    ),
}
HANGING = {
    "before the answer": hang(),
    "in the headers": hang(OK + b"Content-"),
    "in the body": hang(OK + b"Content-Length: 5\r\n\r\nhell"),
    "in a body of no length": hang(OK + b"\r\nhell"),
    "after an interim answer": hang(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


async def told_twice(
    subscriber: Subscriber, client: HttpClient, script: Script, within: timedelta
) -> tuple[str, str]:
    """Return what `request` says over a connection that was at rest, and what is told of it."""
    url = subscriber.answers("/", [200, script, 200, script])
    await client.request("POST", url, timeout=SOON)
    with pytest.raises(NoAnswer) as caught:
        await client.request("POST", url, timeout=within)
    begun = await begin(client, url, within=within)
    return caught.value.reason, await begun.reason()


@pytest.mark.parametrize("script", WORDLESS.values(), ids=WORDLESS)
async def test_what_is_no_answer_is_said_in_the_words_of_a_request(
    subscriber: Subscriber, client: HttpClient, script: Script
) -> None:
    expected, told = await told_twice(subscriber, client, script, SOON)

    assert told == expected
    assert len(subscriber.received) == 4
    assert subscriber.connections == 2
    await subscriber.all_closed()


@pytest.mark.parametrize("script", HANGING.values(), ids=HANGING)
async def test_the_time_covers_the_whole_answer_and_is_told_in_the_words_of_a_request(
    subscriber: Subscriber, client: HttpClient, script: Script
) -> None:
    expected, told = await told_twice(subscriber, client, script, A_MOMENT)

    assert told == expected
    assert told.startswith("no answer within 0.5 s: ")
    assert len(subscriber.received) == 4
    assert subscriber.connections == 2
    await subscriber.all_closed()


async def test_the_time_covers_a_body_that_is_not_taken(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    url = subscriber.answers("/", [200, replace(after(go, 200), early=True)])

    begun = await begin(client, url, bytes(64 << 20), within=A_MOMENT)

    size = len(begun.head) + (64 << 20)
    stage = rf"sending the request \(([\d,]+) of {size:,} bytes are written\)"
    told = re.fullmatch(rf"no answer within 0\.5 s: {stage}", await begun.reason())
    assert told is not None
    assert 0 < int(told[1].replace(",", "")) < 64 << 20
    go.set()


# --- connections that were closed at rest --------------------------------------------------


@pytest.mark.parametrize("ending", [close(), reset()], ids=["closed", "reset"])
async def test_a_connection_that_closes_on_the_request_is_replaced_by_a_fresh_one(
    subscriber: Subscriber, client: HttpClient, ending: Script
) -> None:
    url = subscriber.answers("/", [200, ending, 201])
    begun = await begin(client, url, b"again")

    assert await begun.came() is None
    response = await client.send_anew(
        begun.address, begun.head, begun.body, SOON, began=asyncio.get_running_loop().time()
    )

    assert response.status == 201
    first, second = subscriber.received[1:]
    assert (first.head, first.body) == (second.head, second.body)
    assert subscriber.connections == 2


async def test_a_connection_that_is_closing_is_told_of_as_one_that_was_closed(
    subscriber: Subscriber, client: HttpClient
) -> None:
    await client.request("POST", subscriber.url(), timeout=SOON)
    (connection,) = client._connections
    connection.close()

    begun = try_to_begin(client, subscriber.url())

    assert await begun.came() is None


async def test_what_is_sent_anew_has_its_time_from_when_it_was_begun(
    subscriber: Subscriber, client: HttpClient
) -> None:
    address = parse(subscriber.answers("/", [hang()]))
    head = whole_head(begun_head("POST", address, ()), (), 0)
    long_ago = asyncio.get_running_loop().time() - 3600

    with pytest.raises(NoAnswer, match=r"^no answer within 3600 s: "):
        await client.send_anew(address, head, b"", timedelta(hours=1), began=long_ago)


# --- breaking off --------------------------------------------------------------------------


async def test_cancelling_closes_the_connection_and_nothing_is_told(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [200, hang(), 201])
    begun = await begin(client, url)
    await subscriber.received_at("/", 2)

    assert begun.prompt is not None
    begun.prompt.cancel()

    await subscriber.all_closed()
    assert (await client.request("POST", url, timeout=SOON)).status == 201
    assert begun.told == []


@pytest.mark.parametrize("script", [reply(200), raw(b"SSH-2.0\r\n")], ids=["answer", "none"])
async def test_what_was_answered_a_moment_before_it_is_cancelled_is_not_told_either(
    subscriber: Subscriber,
    client: HttpClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: Script,
) -> None:
    taken = asyncio.Event()
    begun: Begun | None = None
    data_received = Connection.data_received

    def take_and_cancel(self: Connection, data: bytes) -> None:
        data_received(self, data)
        if begun is not None and begun.prompt is not None:
            begun.prompt.cancel()
            asyncio.get_running_loop().call_soon(taken.set)  # behind what would be told

    monkeypatch.setattr(Connection, "data_received", take_and_cancel)
    begun = await begin(client, subscriber.answers("/", [200, script]))

    await taken.wait()

    assert begun.told == []
    assert caplog.records == []


async def test_leaving_the_client_ends_what_was_begun(subscriber: Subscriber) -> None:
    async with HttpClient() as client:
        begun = await begin(client, subscriber.answers("/", [200, hang()]))
        await subscriber.received_at("/", 2)

    await subscriber.all_closed()
    assert await begun.came() is None


# --- TLS -----------------------------------------------------------------------------------


async def test_requests_are_begun_over_tls_with_those_who_trust_the_same(
    client: HttpClient,
) -> None:
    certificates = make_certificates()
    async with Subscriber(tls=certificates.server) as subscriber:
        url = subscriber.answers("/", [200, 201, 202, close(), hang()])
        route = Route(ca_certs=certificates.authority)

        large = await (await begin(client, url, bytes(2 << 20), route=route)).response()
        small = await try_to_begin(client, url, b"small", route=route).response()
        trusting_others = try_to_begin(client, url)
        closed = await try_to_begin(client, url, route=route).came()

        assert (large.status, small.status, closed) == (201, 202, None)
        assert trusting_others.prompt is None
        assert [len(each.body) for each in subscriber.received] == [0, 2 << 20, 5, 0]
        assert subscriber.connections == 1


async def test_the_time_covers_an_answer_over_tls(client: HttpClient) -> None:
    certificates = make_certificates()
    async with Subscriber(tls=certificates.server) as subscriber:
        url = subscriber.answers("/", [200, hang(OK)])
        route = Route(ca_certs=certificates.authority)

        begun = await begin(client, url, within=A_MOMENT, route=route)

        stage = "in the middle of the answer's headers"
        assert await begun.reason() == f"no answer within 0.5 s: {stage}"


# --- attempts ------------------------------------------------------------------------------

EVENT = Event.checked(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/orders",
        "type": "order.placed",
        "datacontenttype": "text/plain",
    },
    b"one",
)
OPTIONS = SinkOptions(namespace="shop", timeout=SOON, network=Network(loopback=True))
SIGNING = Signing(keys=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))


class Attempts:
    """Begins attempts at one sink, and takes what is told of them."""

    def __init__(self, http: HttpSinks, url: str, options: SinkOptions) -> None:
        self.sink = http.sink(Target(url=url), options)
        self.told: list[Told] = []

    def begin(self) -> Underway | None:
        return cast("PromptSink", self.sink).begin(EVENT, self.told.append)

    async def answer(self) -> Answer:
        await until(lambda: bool(self.told))
        told = self.told.pop()
        if isinstance(told, Accepted | Refused):
            return told
        return await told()


def bare(request: Request) -> list[tuple[str, str]]:
    """Return the headers without what differs from one attempt to the next."""
    own = {"traceparent", "webhook-timestamp", "webhook-signature"}
    return [(name, "" if name.lower() in own else value) for name, value in request.headers]


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        replace(OPTIONS, content_mode="structured"),
        replace(OPTIONS, credentials=Credentials(headers={"X-Key": "secret"})),
        replace(OPTIONS, signing=SIGNING),
    ],
    ids=["plain", "structured", "with credentials", "signed"],
)
async def test_a_begun_attempt_sends_what_any_attempt_sends(
    subscriber: Subscriber, options: SinkOptions
) -> None:
    async with HttpSinks() as http:
        attempts = Attempts(http, subscriber.url(), options)
        await attempts.sink.attempt(EVENT)
        for _ in range(2):
            assert attempts.begin() is not None
            assert await attempts.answer() == Accepted()

    first, *begun = subscriber.received
    assert [bare(each) for each in begun] == [bare(first)] * 2
    assert [each.body for each in begun] == [first.body] * 2
    assert len({each.header("traceparent") for each in subscriber.received}) == 3
    assert subscriber.connections == 1


@pytest.mark.parametrize(
    "options",
    [
        replace(OPTIONS, timeouts=Timeouts(first_byte=SOON)),
        replace(
            OPTIONS,
            credentials=Credentials(
                oauth2=OAuth2(token_url="http://127.0.0.1:1/", client_id="a", client_secret="b")
            ),
        ),
        replace(OPTIONS, consent=Consent(origin="mesh.test")),
    ],
    ids=["timed in part", "with a token", "with consent"],
)
async def test_an_attempt_that_takes_more_than_an_answer_is_not_begun(
    subscriber: Subscriber, options: SinkOptions
) -> None:
    async with HttpSinks() as http:
        await Attempts(http, subscriber.url(), OPTIONS).sink.attempt(EVENT)

        assert Attempts(http, subscriber.url(), options).begin() is None
        assert Attempts(http, "ftp://nowhere.test/", OPTIONS).begin() is None


async def test_what_a_begun_attempt_was_refused_with_holds_no_secret(
    subscriber: Subscriber,
) -> None:
    told = reply(422, {}, b"not with secret-1")
    url = subscriber.answers("/", [200, told, 200, close(), told])
    async with HttpSinks() as http:
        headers = {"X-Key": "secret-1"}
        options = replace(OPTIONS, credentials=Credentials(headers=headers))
        attempts = Attempts(http, url, options)
        for _ in range(2):  # and once over a fresh connection
            await attempts.sink.attempt(EVENT)
            attempts.begin()

            answer = await attempts.answer()

            assert isinstance(answer, Refused)
            assert answer.status == 422
            assert b"secret-1" not in answer.body


async def test_an_attempt_whose_connection_was_closed_goes_on_over_a_fresh_one(
    subscriber: Subscriber,
) -> None:
    """Also where another is at rest: it may be closed as well, and the event be sent thrice."""
    go = asyncio.Event()
    both = after(go, 200)
    url = subscriber.answers("/", [both, both, close(), 202])
    async with HttpSinks() as http:
        attempts = Attempts(http, url, OPTIONS)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(attempts.sink.attempt(EVENT))
            await subscriber.received_at("/", 2)
            go.set()

        attempts.begin()
        answer = await attempts.answer()

    assert answer == Accepted()
    assert len(subscriber.received) == 4
    assert subscriber.received[-1].connection == 3


async def test_an_attempt_takes_no_longer_than_its_timeout_over_two_connections(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    since: list[float] = []
    send_anew = HttpClient.send_anew

    async def an_hour_later(
        client: HttpClient,
        address: Address,
        head: bytes,
        body: bytes,
        within: timedelta,
        *,
        began: float,
    ) -> Response:
        since.append(began)
        return await send_anew(client, address, head, body, within, began=began - 3600)

    monkeypatch.setattr(HttpClient, "send_anew", an_hour_later)
    go = asyncio.Event()
    url = subscriber.answers("/", [200, after(go, close()), hang()])
    async with HttpSinks() as http:
        attempts = Attempts(http, url, replace(OPTIONS, timeout=timedelta(hours=1)))
        await attempts.sink.attempt(EVENT)

        attempts.begin()
        await subscriber.received_at("/", 2)
        closed = asyncio.get_running_loop().time()
        go.set()
        answer = await attempts.answer()

    assert isinstance(answer, Refused)
    assert answer.reason.startswith("no answer within 3600 s: ")
    assert len(since) == 1
    assert since[0] <= closed


async def test_a_bug_in_reading_an_answer_does_not_leave_the_attempt_untold(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_of(response: Response, secrets: frozenset[bytes]) -> Answer:
        raise ZeroDivisionError

    async with HttpSinks() as http:
        attempts = Attempts(http, subscriber.url(), OPTIONS)
        await attempts.sink.attempt(EVENT)
        monkeypatch.setattr(sinks.http.sink, "answer_of", answer_of)

        attempts.begin()

        with pytest.raises(ZeroDivisionError):
            await attempts.answer()
