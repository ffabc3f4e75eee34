"""HttpPollerSource on real servers: what becomes of their answers, and what it survives."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from typing import Any

import pytest

from broker.channels.memory import MemoryChannel
from broker.errors import ChannelUnavailable, InvalidEvent
from broker.event import Event
from tests.contract.web import JSON, listed, poll, with_etag
from tests.services.certificates import make_certificates
from tests.services.mesh import free_port
from tests.services.relay import Relay
from tests.services.subscribers import (
    Answer,
    Subscriber,
    chunked,
    close,
    endless,
    hang,
    raw,
    reply,
    until_close,
)

URI = "/apis/v1/namespaces/default/httppollersources/orders"
LIST: dict[str, Any] = {"items": "data.list", "itemId": "id"}


@pytest.fixture
async def server() -> AsyncIterator[Subscriber]:
    async with Subscriber() as found:
        yield found


def ids(events: Sequence[Event]) -> list[str]:
    return [each.id for each in events]


# --- what is asked ---------------------------------------------------------------------------


async def test_headers_and_credentials_are_sent(server: Subscriber) -> None:
    spec: dict[str, Any] = {
        "headers": {"X-Api-Key": "swordfish", "Accept": "text/csv"},
        "auth": {"basic": {"user": "me", "password": "p:w"}},
    }
    async with poll(server.answers("/a%2Fb?q=%20x+y", [reply(204)]), **spec):
        [request] = (await server.received_at("/a%2Fb?q=%20x+y"))[:1]

    told = {name.lower(): value for name, value in request.headers}
    assert request.method == "GET"
    assert told["authorization"] == "Basic bWU6cDp3"
    assert (told["x-api-key"], told["accept"]) == ("swordfish", "text/csv")
    assert told["host"] == f"127.0.0.1:{server.port}"


async def test_it_asks_for_what_is_newer_also_after_a_restart_which_repeats_nothing(
    server: Subscriber,
) -> None:
    bodies = [b'{"n": 1}']
    url = server.answers("/", with_etag(lambda: bodies[-1]))

    async with poll(url) as run:
        [first] = await run.events(1)
        await run.stop()
        asked = len(server.received)
        run.start()
        await server.received_at("/", asked + 2)
        bodies.append(b'{"n": 2}')
        [second] = await run.events(1)

    assert server.received[0].header("If-None-Match") is None
    assert server.received[asked].header("If-None-Match") == first.attributes["etag"]
    assert (first.data, second.data) == (b'{"n": 1}', b'{"n": 2}')


async def test_it_asks_by_the_time_of_the_last_change_where_there_is_no_tag(
    server: Subscriber,
) -> None:
    changed = "Sun, 01 Mar 2026 02:00:00 GMT"
    url = server.answers("/", [reply(200, {"Last-Modified": changed}, b"x"), 304])

    async with poll(url) as run:
        [event] = await run.events(1)
        again = (await server.received_at("/", 2))[1]

    assert again.header("If-Modified-Since") == changed
    assert event.attributes["time"] == "2026-03-01T02:00:00Z"


async def test_redirects_are_followed_and_credentials_stay_with_the_server(
    server: Subscriber,
) -> None:
    secret: dict[str, Any] = {
        "auth": {"bearer": "swordfish"},
        "headers": {"X-Api-Key": "swordfish"},
    }
    async with Subscriber() as other:
        server.answers("/", [reply(302, {"Location": "/here#now"})])
        server.answers("/here", [reply(307, {"Location": other.url("/there")})])
        other.answers("/there", [reply(301, {"Location": server.url("/back")})])
        server.answers("/back", [reply(200, JSON, b"[1]")])
        async with poll(server.url("/"), **secret) as run:
            [event] = await run.events(1)

    assert event.data == b"[1]"
    assert b"swordfish" not in b"".join(each.head for each in other.received)
    assert {each.header("Authorization") for each in server.received} == {"Bearer swordfish"}
    assert {each.header("X-Api-Key") for each in server.received} == {"swordfish"}


async def test_a_circle_of_redirects_has_an_end(server: Subscriber) -> None:
    url = server.answers("/", [reply(302, {"Location": "/"})])

    async with poll(url) as run:
        status = await run.until("unhealthy")

    assert status.error == f"{url} cannot be used: it redirects more than 5 times"
    assert len(server.received) == 6


@pytest.mark.parametrize("trusts", [True, False])
async def test_it_speaks_tls_and_trusts_whom_it_is_told_to(trusts: bool) -> None:
    certificates = make_certificates("127.0.0.1")
    tls: dict[str, Any] = {"tls": {"caCert": certificates.authority}} if trusts else {}
    async with Subscriber(tls=certificates.server) as server:
        url = server.answers("/", [reply(200, JSON, b"1")])
        async with poll(url, **tls) as run:
            if trusts:
                assert [each.data for each in await run.events(1)] == [b"1"]
            else:
                status = await run.until("unhealthy")
                assert "does 'tls.caCert' have the authority of its certificate?" in (
                    status.error or ""
                )


async def test_its_certificate_is_shown_to_the_server_and_to_no_other() -> None:
    certificates = make_certificates("127.0.0.1")
    certificates.server.load_verify_locations(cadata=certificates.authority)
    certificates.server.verify_mode = ssl.CERT_REQUIRED
    client = certificates.client
    tls = {"caCert": certificates.authority, "cert": client.certificate, "key": client.key}
    async with (
        Subscriber(tls=certificates.server) as server,
        Subscriber(tls=certificates.server) as other,
    ):
        server.answers("/here", [reply(200, JSON, b"1")])
        server.answers("/there", [reply(302, {"Location": other.url("/")})])
        async with poll(server.url("/here"), tls=tls) as run:
            await run.events(1)
        async with poll(server.url("/there"), tls=tls) as run:
            status = await run.until("unhealthy")

    assert (status.error or "").startswith(f"{other.url('/')} cannot be used: ")
    assert not other.received


# --- a whole body ----------------------------------------------------------------------------


async def test_a_body_is_an_event_whenever_it_is_another_one(server: Subscriber) -> None:
    tag = {"ETag": '"7"'}
    one, two = reply(200, {**JSON, **tag}, b' {"a":1.0}'), chunked(200, {}, [b"t", b"wo"])
    url = server.answers("/", [one, one, two, until_close(200, {}, b"two"), one])

    async with poll(url) as run:
        first, second, third = await run.events(3)

    assert dict(first.attributes) == {
        "specversion": "1.0",
        "id": f"1-{sha256(first.data or b'').hexdigest()}",
        "source": URI,
        "type": "dev.cemesh.http.body",
        "datacontenttype": "application/json",
        "etag": '"7"',
    }
    assert first.data == third.data == b' {"a":1.0}'
    assert second.data == b"two"
    assert [each.id.partition("-")[0] for each in (first, second, third)] == ["1", "2", "3"]
    assert first.id.partition("-")[2] == third.id.partition("-")[2] != second.id.partition("-")[2]


async def test_what_is_a_cloudevent_is_what_it_is(server: Subscriber) -> None:
    def event(id: str) -> str:
        told = f'"specversion":"1.0","id":"{id}","source":"/shop","type":"order"'
        return f'{{{told},"data":{{"n":1.0}}}}'

    binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order"}
    structured = {"Content-Type": "application/cloudevents+json"}
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    url = server.answers(
        "/",
        [
            reply(200, binary, b"one"),
            reply(200, structured, event("2").encode()),
            reply(200, batch, f"[{event('2')},{event('3')},{event('4')}]".encode()),
            reply(200, structured, b"[no"),
        ],
    )

    async with poll(url) as run:
        events = await run.events(4)
        [broken] = await run.rejected(1)

    assert ids(events) == ["1", "2", "3", "4"]
    assert {each.source for each in events} == {"/shop"}
    assert (events[0].data, events[1].data) == (b"one", b'{"n":1.0}')
    assert broken.event.data == b"[no"
    assert broken.why.reason.startswith(url)


# --- the elements of a list ------------------------------------------------------------------


async def test_an_element_is_an_event_once(server: Subscriber) -> None:
    first = b'{"data": {"list": [ {"id" : 1, "n": 1.0}, {"id": "b"} ]}}'
    second = b'{"data": {"list": [{"id": "b", "new": true}, {"id": 3}, {"id": 3}]}}'
    url = server.answers("/", [reply(200, JSON, each) for each in (first, second)])

    async with poll(url, **LIST) as run:
        events = await run.events(3)
        await server.received_at("/", 6)
        await run.restart()
        await server.received_at("/", len(server.received) + 3)

    assert run.status.emitted == 0
    assert ids(events) == ["1", "b", "3"]
    assert dict(events[0].attributes) == {
        "specversion": "1.0",
        "id": "1",
        "source": URI,
        "type": "dev.cemesh.http.item",
        "datacontenttype": "application/json",
    }
    assert events[0].data == b'{"id" : 1, "n": 1.0}'


async def test_without_ids_an_element_that_changes_is_another_one(server: Subscriber) -> None:
    bodies = [b'[{"n":1},{"n":2}]', b'[{"n":1},{"n":2.0}]']
    url = server.answers("/", [reply(200, JSON, each) for each in bodies])

    async with poll(url, items=".") as run:
        events = await run.events(3)

    assert [each.data for each in events] == [b'{"n":1}', b'{"n":2}', b'{"n":2.0}']
    assert len({*ids(events)}) == 3


async def test_pages_are_followed_as_far_as_told(server: Subscriber) -> None:
    def page(number: int) -> Answer:
        links = f'<{server.url("/1")}>; rel="first", </{number + 1}>; title="a,b"; rel="x next"'
        return reply(200, {**JSON, "Link": links}, listed(2 * number, 2 * number + 1))

    for number in (1, 2, 3, 4):
        server.answers(f"/{number}", [page(number)])

    async with poll(server.url("/1"), maxPages=3, **LIST) as run:
        events = await run.events(6)
        await server.received_at("/1", 3)

    assert ids(events) == ["2", "3", "4", "5", "6", "7"]
    assert not [each for each in server.received if each.path == "/4"]


async def test_what_can_become_no_event_is_a_dead_letter_once(server: Subscriber) -> None:
    body = json.dumps([{"id": 1}, {"no": "id"}, {"id": "a\u0007b"}, {"id": 2}]).encode()
    url = server.answers("/", [reply(200, JSON, body)])

    async with poll(url, items=".", itemId="id") as run:
        events = await run.events(2)
        nameless, strange = await run.rejected(2)
        await server.received_at("/", 4)
        assert len(await run.rejected(2)) == 2

    assert ids(events) == ["1", "2"]
    assert nameless.event.data == b'{"no": "id"}'
    assert "there is no text and no number at 'id'" in nameless.why.reason
    assert "id" in strange.why.reason


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"data": {}}', "its answer has no list at 'data.list', which items says"),
        (b'{"data": {"list": {}}}', "its answer has no list at 'data.list', which items says"),
        (b"<html>", "its answer is not JSON: "),
        (b'{"data": {"list": ["\xff"]}}', "its answer is not UTF-8: "),
        (b'{"data": {"list": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}}", "its answer"),
    ],
)
async def test_an_answer_without_the_list_is_told_of(
    server: Subscriber, body: bytes, told: str
) -> None:
    url = server.answers("/", [reply(200, JSON, body)])

    async with poll(url, **LIST) as run:
        status = await run.until("unhealthy")

    assert f"{url} cannot be used: {told}" in (status.error or "")


async def test_more_than_can_be_known_again_is_refused_and_what_can_be_fits(
    server: Subscriber,
) -> None:
    bodies = [listed(*range(5_001)), listed(*range(5_000))]
    url = server.answers("/", [reply(200, JSON, each) for each in bodies])

    async with poll(url, **LIST) as run:
        status = await run.until("unhealthy")
        assert run.status.emitted == 0
        events = await run.events(5_000)
        await run.until("running")
        await run.restart()
        await server.received_at("/", len(server.received) + 2)

    assert "it lists more than 5,000 elements" in (status.error or "")
    assert len({*ids(events)}) == 5_000
    assert run.status.emitted == 0


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [{}, LIST])
async def test_nothing_is_seen_before_it_is_durable(
    server: Subscriber, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any]
) -> None:
    numbers = [1]
    url = server.answers("/", with_etag(lambda: listed(*numbers)))

    async def unable(_: MemoryChannel, __: Sequence[Event]) -> None:
        raise ChannelUnavailable("events cannot be stored, and places can")

    async with poll(url, **spec) as run:
        await run.events(1)
        with monkeypatch.context() as patched:
            patched.setattr(MemoryChannel, "append", unable)
            numbers.append(2)
            await run.until("unhealthy")
            await run.stop()
        run.start()
        [event] = await run.events(1)

    assert event.data in (b'{"id": 2}', listed(1, 2))


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_asks_for_time_gets_it(server: Subscriber, status: int) -> None:
    url = server.answers("/?key=swordfish", [reply(status, {"Retry-After": "86400"})])

    async with poll(url) as run:
        found = await run.until("unhealthy")

    why = f"{server.url('/')}?…: it answers {status} "
    assert (found.error or "").startswith(why)
    assert (found.error or "").endswith("; it is asked again in 86400 s")
    assert len(server.received) == 1


async def test_after_that_time_it_is_asked_again(server: Subscriber) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    later = reply(503, {"Retry-After": date})
    url = server.answers("/", [later, reply(429), reply(200, JSON, b"1")])

    async with poll(url) as run:
        await run.until("unhealthy")
        [event] = await run.events(1)
        await run.until("running")

    assert event.data == b"1"


def _compressed() -> Answer:
    return reply(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(401), "it answers 401 Unauthorized; are 'auth' and 'headers' those that it knows?"),
        (reply(404), "it answers 404 Not Found; is the path in 'url' right?"),
        (reply(500), "it answers 500 Internal Server Error"),
        (reply(302, {"Location": "ftp://x/"}), "it leads to what is no URL of HTTP"),
        (reply(200, {}, b"x" * 1001), "its answer is longer than maxBodyBytes, 1,000"),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 999), "its answer is longer than maxBodyBytes"),
        (
            endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 999),
            "the headers of its answer are longer",
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx"), "it closed the connection in the"),
        (raw(b"SSH-2.0-x\r\n\r\n"), "its answer is not valid HTTP/1.1: "),
        (close(), "it closed the connection before its answer; does it expect"),
        (hang(b"HTTP/1.1 200 OK\r\n"), "no answer in time"),
        (_compressed(), "its answer is in gzip, which was not asked for"),
    ],
)
async def test_what_is_no_answer_of_use_is_said(
    server: Subscriber, answer: Answer, told: str
) -> None:
    url = server.answers("/", [answer])

    async with poll(url, maxBodyBytes=1_000, timeout="PT0.5S") as run:
        status = await run.until("unhealthy")

    assert (status.error or "").startswith(f"{url} cannot be used: {told}")
    assert run.status.emitted == 0


async def test_it_goes_on_after_an_outage_and_says_where_the_server_was(
    server: Subscriber,
) -> None:
    numbers = [1]
    server.answers("/", with_etag(lambda: listed(*numbers)))
    async with Relay(f"127.0.0.1:{free_port()}", to=f"127.0.0.1:{server.port}") as relay:
        url = relay.in_url(server.url("/"))
        async with poll(url, **LIST) as run:
            await run.events(1)
            with relay.cut():
                status = await run.until("unhealthy")
                numbers.append(2)
            events = await run.events(1)

    assert status.error == f"{url} cannot be used: Connection refused"
    assert ids(events) == ["2"]


async def test_it_leaves_no_connection_behind(server: Subscriber) -> None:
    url = server.answers("/", [hang()])

    async with poll(url) as run:
        await server.received_at("/", 1)
        await run.stop()
        await server.all_closed()


async def test_what_the_store_refuses_alone_keeps_nothing_else_up(
    server: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = MemoryChannel.append

    async def limited(channel: MemoryChannel, events: Sequence[Event]) -> None:
        if any(len(each.data or b"") > 100 for each in events):
            raise InvalidEvent("it is too large")
        await append(channel, events)

    monkeypatch.setattr(MemoryChannel, "append", limited)
    body = json.dumps([{"id": 1}, {"id": 2, "much": "x" * 100}, {"id": 3}]).encode()
    url = server.answers("/", [reply(200, JSON, body)])

    async with poll(url, items=".", itemId="id") as run:
        events = await run.events(2)
        [letter] = await run.rejected(1)

    assert ids(events) == ["1", "3"]
    assert (letter.event.id, letter.why.reason) == ("2", f"{url}: it is too large")
