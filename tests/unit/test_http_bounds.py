"""Parts of an attempt have bounds of their own: connecting, sending, waiting, reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker.policy import Timeouts
from sinks.http import HttpClient, NoAnswer
from tests.services.subscribers import Hang, Script, Send, Subscriber, reply
from tests.subscribers.sockets import black_hole, half_open

LATE = timedelta(seconds=30)
SOON = timedelta(milliseconds=500)
PAYLOAD = bytes(32 << 20)
"""More than the buffers of a connection hold."""


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as entered:
        yield entered


async def refusal(client: HttpClient, url: str, timeouts: Timeouts, body: bytes = b"") -> str:
    with pytest.raises(NoAnswer) as caught:
        await client.request("POST", url, body=body, timeout=LATE, timeouts=timeouts)
    return caught.value.reason


async def test_connecting(client: HttpClient) -> None:
    async with black_hole() as url:
        reason = await refusal(client, url, Timeouts(connect=SOON))

    assert reason.startswith("no connection within 0.5 s: ")


async def test_sending(client: HttpClient) -> None:
    async with half_open() as url:
        reason = await refusal(client, url, Timeouts(write=SOON), PAYLOAD)

    assert reason == "the request was not taken within 0.5 s"


async def test_waiting_for_the_answer(subscriber: Subscriber, client: HttpClient) -> None:
    url = subscriber.answers("/", [Script((Hang(),))])

    reason = await refusal(client, url, Timeouts(write=SOON / 2, first_byte=SOON))

    assert reason == "no answer began within 0.5 s"


async def test_reading_the_answer(subscriber: Subscriber, client: HttpClient) -> None:
    began = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1"
    url = subscriber.answers("/", [Script((Send(began), Hang()))])

    reason = await refusal(client, url, Timeouts(first_byte=LATE, body=SOON))

    assert reason == "the answer was not complete within 0.5 s of its first byte"


async def test_what_keeps_within_all_of_them_is_answered_and_its_connection_kept(
    subscriber: Subscriber, client: HttpClient
) -> None:
    timeouts = Timeouts(connect=LATE, write=LATE, first_byte=LATE, body=LATE)
    url = subscriber.answers("/", [reply(200, body=b"yes")])
    for _ in range(3):
        response = await client.request(
            "POST", url, body=bytes(100_000), timeout=LATE, timeouts=timeouts
        )
        assert response.body == b"yes"

    assert subscriber.connections == 1


async def test_a_request_that_was_given_up_on_a_kept_connection_is_not_sent_again(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [reply(200), Script((Hang(),)), reply(200)])
    await client.request("POST", url, timeout=LATE)

    reason = await refusal(client, url, Timeouts(first_byte=SOON))

    assert reason == "no answer began within 0.5 s"
    assert len(subscriber.received) == 2
