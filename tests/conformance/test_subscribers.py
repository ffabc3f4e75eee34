"""Subscribers that misbehave: for each the verdict, the attempt record and the dead letter.

The first attempt is made over a fresh connection, and over one kept from a delivery that went well
just before. Both come to the same.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import pytest

from broker import ports
from broker.event import Event
from broker.policy import Network
from broker.ports import (
    Accepted,
    Answer,
    Attempt,
    Claim,
    Deferred,
    Outcome,
    PromptSink,
    Refused,
    Settled,
    Sink,
    SinkOptions,
    Step,
    Verdict,
)
from broker.trigger import DeliveryPolicy, Target, Trigger
from delivery.delivery import Delivery
from delivery.verdicts import judge
from sinks.http import HttpSinks
from tests.conformance.begun import begun_step
from tests.services.subscribers import (
    Pause,
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
from tests.subscribers.places import (
    Opening,
    Place,
    Scripted,
    abandoned,
    never_connecting,
    never_reading,
    plain_behind_https,
    resetting_at_once,
    scripted,
    self_signed,
    silent_in_the_handshake,
    with_certificate,
)
from tests.watching import Noting

DELIVERED, RETRY, GIVE_UP = Verdict.DELIVERED, Verdict.RETRY, Verdict.GIVE_UP
SOON = timedelta(seconds=30)
BRIEF = timedelta(milliseconds=500)
"""The timeout of attempts that it ends."""

SMALL = b'{"order": 1}'
LARGE = bytes(16 << 20)
"""More than the buffers of a connection hold."""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
DRIPPING = (Send(b"."), Pause(0.02)) * 99

EVENT = Event.checked(
    {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.placed"}, SMALL
)


@pytest.fixture
async def sinks() -> AsyncIterator[HttpSinks]:
    async with HttpSinks() as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of a delivery that had two attempts at most.

    ``begun`` says of each step whether it was begun over a kept connection.
    """

    begun: Sequence[bool]
    steps: Sequence[Step]
    attempts: Sequence[Attempt]
    letters: Sequence[Request]

    @property
    def verdicts(self) -> Sequence[Verdict]:
        return [each.verdict for each in self.attempts if each.to == "subscriber"]


async def deliver(
    sinks: HttpSinks, place: Place, *, data: bytes, within: timedelta, kept: bool = False
) -> Told:
    """Deliver an event with one retry and a dead-letter sink, waiting for nothing in between.

    With ``kept`` another event is delivered first, which the place answers well.
    """
    watch = Noting()
    begun: list[bool] = []
    steps: list[Step] = []

    async def emit(events: Sequence[Event]) -> None:
        raise AssertionError("nobody replies here")

    def options(timeout: timedelta) -> SinkOptions:
        return SinkOptions(namespace="shop", timeout=timeout, network=Network(loopback=True))

    async with Subscriber() as letters:
        subscriber = Target(url=place.url, ca_certs=place.ca_certs)
        dead_letter = Target(url=letters.url())
        delivery = Delivery(
            Trigger(
                key="shop/orders",
                broker="shop/default",
                subscriber=subscriber,
                delivery=DeliveryPolicy(retry=1, dead_letter=dead_letter),
            ),
            subscriber=sinks.sink(subscriber, options(within)),
            dead_letter=sinks.sink(dead_letter, options(SOON)),
            emit=emit,
            watch=watch,
        )
        claim = Claim(
            event=replace(EVENT, data=data),
            accepted_at=datetime.now(UTC),
            attempts=0,
            condemned=None,
            position=None,
        )
        if kept:
            assert await sinks.sink(subscriber, options(SOON)).attempt(EVENT) == Accepted()
        while True:
            step = await begun_step(delivery, claim)
            begun.append(step is not None)
            step = step or await delivery.step(claim)
            steps.append(step)
            if not isinstance(step, Deferred):
                break
            claim = replace(claim, attempts=step.attempts, condemned=step.condemned)
        return Told(begun=begun, steps=steps, attempts=watch.attempts, letters=letters.received)


def both_ways(table: Mapping[str, tuple[Any, ...]]) -> Sequence[Any]:
    """Return the rows, and again, over a kept connection, those of places that can have one."""
    rows = [pytest.param(False, *row, id=name) for name, row in table.items()]
    for name, (opening, *rest) in table.items():
        if isinstance(opening, Scripted):
            rows.append(pytest.param(True, opening.after(200), *rest, id=f"{name}, kept"))
    return rows


# --- no answer, or none that can be taken --------------------------------------------------

NO_ANSWER: dict[str, tuple[Opening, str]] = {
    # Below HTTP.
    "nobody listens": (abandoned, "connection refused"),
    "resets every connection": (
        resetting_at_once,
        (
            "the connection (broke: Connection reset by peer"
            r"|was closed (before the answer|while connecting to 127\.0\.0\.1))"
        ),
    ),
    # In the answer.
    "closes without a word": (
        scripted(close()),
        "the connection was closed before the answer",
    ),
    "resets before the answer": (
        scripted(reset()),
        "the connection broke: Connection reset by peer",
    ),
    "closes in the headers": (
        scripted(raw(OK + b"Content-Le")),
        "the connection was closed in the middle of the answer",
    ),
    "closes in the body": (
        scripted(raw(OK + b"Content-Length: 10\r\n\r\nhello")),
        "the connection was closed in the middle of the answer",
    ),
    "resets in the body": (
        scripted(reset(OK + b"Content-Length: 10\r\n\r\nhello")),
        "the connection (broke: Connection reset by peer|was closed in the middle of the answer)",
    ),
    "closes between two chunks": (
        scripted(raw(CHUNKED + b"5\r\nhello\r\n")),
        "the connection was closed in the middle of the answer",
    ),
    "gives a length that is none": (
        scripted(raw(OK + b"Content-Length: five\r\n\r\nhello")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "gives two lengths": (
        scripted(raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "gives a length and chunks": (
        scripted(raw(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"hello")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "gives a chunk a size that is none": (
        scripted(raw(CHUNKED + b"five\r\nhello\r\n")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "gives a chunk a size beyond numbers": (
        scripted(raw(CHUNKED + b"f" * 20 + b"\r\nhello\r\n")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "sends garbage": (
        scripted(raw(bytes(range(256)))),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "speaks another protocol": (
        scripted(raw(b"SSH-2.0-OpenSSH_9.9\r\n")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "speaks HTTP/2": (
        scripted(raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18))),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "switches protocols unasked": (
        scripted(raw(b"HTTP/1.1 101 Hi\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx")),
        "the answer is not valid HTTP/1.1: .*",
    ),
    "sends headers without end": (
        scripted(endless(OK + b"X: ", b"x" * 4096)),
        "the answer's headers are longer than 65536 bytes",
    ),
    "sends interim answers without end": (
        scripted(endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 99)),
        "the answer's headers are longer than 65536 bytes",
    ),
    "sends trailers without end": (
        scripted(endless(CHUNKED + b"0\r\nX: ", b"x" * 65536)),
        r"the answer's body is padded to more than \d+ bytes",
    ),
    # TLS.
    "speaks HTTP where TLS is expected": (
        plain_behind_https,
        "TLS failed: .*",
    ),
    "has a certificate for another name": (
        with_certificate("elsewhere.test"),
        "certificate is not trusted: .*IP address mismatch.*",
    ),
    "has a certificate of nobody we trust": (
        with_certificate("127.0.0.1", trusted=False),
        "certificate is not trusted: unable to get local issuer certificate",
    ),
    "has a certificate that expired": (
        with_certificate("127.0.0.1", expired=True),
        "certificate is not trusted: certificate has expired",
    ),
    "has a certificate by itself": (
        self_signed,
        "certificate is not trusted: self.signed certificate",
    ),
}

HANGING: dict[str, tuple[Opening, str]] = {
    "does not take the connection": (never_connecting, "connecting to 127.0.0.1"),
    "does not shake hands": (silent_in_the_handshake, "shaking hands with 127.0.0.1"),
    "does not read": (
        never_reading,
        r"sending the request \([\d,]+ of 16,777,\d+ bytes are written\)",
    ),
    "stops reading": (
        scripted(Script((Pause(60),), early=True)),
        r"sending the request \([\d,]+ of 16,777,\d+ bytes are written\)",
    ),
    "hangs before the answer": (scripted(hang()), "waiting for the answer"),
    "hangs after an interim answer": (
        scripted(hang(b"HTTP/1.1 100 Continue\r\n\r\n")),
        "in the middle of the answer's headers",
    ),
    "hangs in the headers": (
        scripted(hang(OK + b"Content-Le")),
        "in the middle of the answer's headers",
    ),
    "hangs after the headers": (
        scripted(hang(OK + b"Content-Length: 5\r\n\r\n")),
        "in the middle of the answer's body",
    ),
    "promises more than it sends": (
        scripted(hang(OK + b"Content-Length: 10\r\n\r\nhello")),
        "in the middle of the answer's body",
    ),
    "hangs after the last chunk but one": (
        scripted(hang(CHUNKED + b"5\r\nhello\r\n")),
        "in the middle of the answer's body",
    ),
    "answers a byte at a time": (
        scripted(Script((Send(OK + b"Content-Length: 99\r\n\r\n"), *DRIPPING))),
        "in the middle of the answer's body",
    ),
}


@pytest.mark.parametrize(("kept", "opening", "reason"), both_ways(NO_ANSWER))
async def test_a_subscriber_without_an_answer_is_tried_again_and_told_of(
    sinks: HttpSinks, kept: bool, opening: Opening, reason: str
) -> None:
    async with opening() as place:
        told = await deliver(sinks, place, data=SMALL, within=SOON, kept=kept)

    assert told.begun[0] is kept
    check_without_answer(told, place, reason, SMALL)


@pytest.mark.parametrize(("kept", "opening", "stage"), both_ways(HANGING))
async def test_a_subscriber_that_hangs_is_tried_again_and_it_is_told_where(
    sinks: HttpSinks, kept: bool, opening: Opening, stage: str
) -> None:
    data = LARGE if "sending" in stage else SMALL
    async with opening() as place:
        told = await deliver(sinks, place, data=data, within=BRIEF, kept=kept)

    assert told.begun[0] is kept
    check_without_answer(told, place, rf"no answer within 0\.5 s: {stage}", data)


def check_without_answer(told: Told, place: Place, reason: str, data: bytes) -> None:
    assert told.verdicts == [RETRY, RETRY]
    for attempt in told.attempts[:2]:
        assert isinstance(attempt.answer, Refused)
        assert attempt.answer.status is None
        assert re.fullmatch(reason, attempt.answer.reason), attempt.answer.reason
    assert isinstance(told.steps[-1], Settled)
    assert told.steps[-1].outcome is Outcome.DEAD_LETTERED
    (letter,) = told.letters
    assert letter.body == data
    assert letter.header("ce-knativeerrordest") == place.url
    assert letter.header("ce-knativeerrorcode") is None
    assert letter.header("ce-knativeerrordata") is None
    assert letter.header("ce-cemeshattempts") == "2"
    assert re.fullmatch(reason, unquote(letter.header("ce-cemesherrorreason") or ""))


# --- answers that are odd, and answers all the same ----------------------------------------

TAKEN: dict[str, tuple[Opening, str | None]] = {
    "answers late": (scripted(after(0.2, 200)), None),
    "answers in segments": (scripted(Script(tuple(Send(bytes([b])) for b in NO_CONTENT))), None),
    "answers before the body is read": (scripted(early(reply(202))), None),
    "answers in HTTP/1.0": (scripted(raw(b"HTTP/1.0 200 OK\r\n\r\n")), None),
    "answers without a phrase": (scripted(raw(b"HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n")), None),
    "closes after each answer": (scripted(reply(200, {"Connection": "close"})), None),
    "closes after each answer without a word of it": (scripted(until_close(200)), None),
    "says to continue first": (scripted(raw(b"HTTP/1.1 100 Continue\r\n\r\n", NO_CONTENT)), None),
    "hints first": (
        scripted(raw(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n", NO_CONTENT)),
        None,
    ),
    "sends more than the length it gives": (
        scripted(raw(OK + b"Content-Length: 5\r\n\r\nhello, world")),
        "the answer's body (5 bytes) was ignored: it is no reply",
    ),
    "sends chunks of one byte": (
        scripted(chunked(200, chunks=[b"h", b"i"])),
        "the answer's body (2 bytes) was ignored: it is no reply",
    ),
    "adds extensions and trailers to its chunks": (
        scripted(raw(CHUNKED + b"2;a=b\r\nhi\r\n0\r\nX: y\r\n\r\n")),
        "the answer's body (2 bytes) was ignored: it is no reply",
    ),
    "ends its body with the connection": (
        scripted(until_close(200, body=b"hi")),
        "the answer's body (2 bytes) was ignored: it is no reply",
    ),
    "sends a body without end": (
        scripted(endless(OK + b"\r\n", bytes(65536))),
        "the answer's body, larger than 1048576 bytes, was ignored",
    ),
    "sends chunks without end": (
        scripted(endless(CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n")),
        "the answer's body, larger than 1048576 bytes, was ignored",
    ),
    "speaks TLS": (with_certificate("127.0.0.1"), None),
}


@pytest.mark.parametrize(("kept", "opening", "note"), both_ways(TAKEN))
async def test_an_odd_answer_is_taken(
    sinks: HttpSinks, kept: bool, opening: Opening, note: str | None
) -> None:
    async with opening() as place:
        told = await deliver(sinks, place, data=SMALL, within=SOON, kept=kept)

    assert told.begun == [kept]
    assert told.verdicts == [DELIVERED]
    assert [each.answer for each in told.attempts] == [Accepted(note=note)]
    assert told.steps == [Settled(outcome=Outcome.DELIVERED)]
    assert told.letters == []


async def test_a_subscriber_on_ipv6_is_delivered_to(sinks: HttpSinks) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6")
    async with scripted(204, host="::1")() as place:
        told = await deliver(sinks, place, data=SMALL, within=SOON)

    assert told.verdicts == [DELIVERED]


# --- answers that refuse -------------------------------------------------------------------

REFUSING: dict[str, tuple[Opening, Verdict, str, bytes]] = {
    "redirects": (
        scripted(reply(307, {"Location": "http://169.254.169.254/"}, b"there")),
        GIVE_UP,
        "307 Temporary Redirect",
        b"there",
    ),
    "refuses before the body is read": (
        scripted(early(reply(413, {"Connection": "close"}, b"too large"))),
        GIVE_UP,
        f"413 {HTTPStatus(413).phrase}",
        b"too large",
    ),
    "refuses for now before the body is read": (
        scripted(early(reply(503, {"Connection": "close"}, b"busy"))),
        RETRY,
        "503 Service Unavailable",
        b"busy",
    ),
    "refuses without end": (
        scripted(endless(b"HTTP/1.1 500 Oh\r\n\r\n", b"no" * 4096)),
        RETRY,
        "500 Internal Server Error",
        b"no" * 512,
    ),
    "refuses with a status that nobody knows": (
        scripted(raw(b"HTTP/1.1 799 Oh\r\nContent-Length: 0\r\n\r\n")),
        RETRY,
        "799",
        b"",
    ),
}


@pytest.mark.parametrize(("kept", "opening", "verdict", "reason", "body"), both_ways(REFUSING))
async def test_a_refusal_is_judged_by_its_status_and_kept_for_the_dead_letter(
    sinks: HttpSinks, kept: bool, opening: Opening, verdict: Verdict, reason: str, body: bytes
) -> None:
    async with opening() as place:
        told = await deliver(sinks, place, data=LARGE, within=SOON, kept=kept)

    attempts = 2 if verdict is RETRY else 1
    assert told.begun[0] is kept
    status = int(reason[:3])
    assert told.verdicts == [verdict] * attempts
    for attempt in told.attempts[:attempts]:
        assert attempt.answer == Refused(reason=reason, status=status, body=body)
    (letter,) = told.letters
    assert letter.body == LARGE
    assert letter.header("ce-knativeerrordest") == place.url
    assert letter.header("ce-knativeerrorcode") == str(status)
    assert base64.b64decode(letter.header("ce-knativeerrordata") or "") == body
    assert letter.header("ce-cemeshattempts") == str(attempts)
    assert unquote(letter.header("ce-cemesherrorreason") or "") == reason


@pytest.mark.parametrize("begun", [False, True], ids=["attempted", "begun"])
@pytest.mark.parametrize("hundreds", [2, 3, 4, 5])
async def test_every_status_has_its_verdict(sinks: HttpSinks, hundreds: int, begun: bool) -> None:
    statuses = range(hundreds * 100, hundreds * 100 + 100)
    verdicts = {}
    async with Subscriber() as subscriber:
        options = SinkOptions(namespace="shop", timeout=SOON, network=Network(loopback=True))
        sink = sinks.sink(Target(url=subscriber.answers("/", [200, *statuses])), options)
        await sink.attempt(EVENT)
        for status in statuses:
            verdicts[status] = judge(await (begun_attempt(sink) if begun else sink.attempt(EVENT)))

    expected = {2: DELIVERED, 3: GIVE_UP, 4: GIVE_UP, 5: RETRY}[hundreds]
    passing = dict.fromkeys({404, 408, 409, 429} & set(statuses), RETRY)
    assert verdicts == dict.fromkeys(statuses, expected) | passing


async def begun_attempt(sink: Sink) -> Answer:
    """Return the answer to an attempt over a kept connection, which is all that it takes."""
    told: asyncio.Future[ports.Told] = asyncio.get_running_loop().create_future()
    assert cast("PromptSink", sink).begin(EVENT, told.set_result) is not None
    answer = await told
    assert isinstance(answer, Accepted | Refused)
    return answer
