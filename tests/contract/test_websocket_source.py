"""WebSocketSource on real servers: what becomes of their messages, and what it survives."""

from __future__ import annotations

import asyncio
import http
import json
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.http11 import Response

from broker.event import Event
from tests.contract.web import WebSocketServer, listen
from tests.services.certificates import make_certificates
from tests.services.mesh import free_port
from tests.services.relay import Relay
from tests.services.subscribers import Subscriber, hang, reply
from tests.unit.meshes import until


@pytest.fixture
async def server() -> AsyncIterator[WebSocketServer]:
    async with WebSocketServer() as found:
        yield found


def data(events: Sequence[Event]) -> list[bytes | None]:
    return [each.data for each in events]


# --- what becomes of a message ---------------------------------------------------------------


async def test_a_message_is_an_event_byte_for_byte(server: WebSocketServer) -> None:
    sent: list[str | bytes] = ['{"n": 1.0}', "ä", "17", b"\xff", b"{}", ""]
    await server.send(*sent)

    async with listen(server) as run:
        events = await run.events(6)

    first = dict(events[0].attributes)
    assert uuid.UUID(first.pop("id"))
    assert first == {
        "specversion": "1.0",
        "source": "/apis/v1/namespaces/default/websocketsources/ticks",
        "type": "dev.cemesh.websocket.message",
        "datacontenttype": "application/json",
    }
    assert data(events) == [b'{"n": 1.0}', "ä".encode(), b"17", b"\xff", b"{}", b""]
    assert [each.attributes["datacontenttype"] for each in events[1:]] == [
        *("text/plain", "text/plain"),
        *("application/octet-stream", "application/octet-stream"),
        "text/plain",
    ]
    assert len({each.id for each in events}) == 6


async def test_the_id_is_where_the_spec_says_or_one_that_no_other_has(
    server: WebSocketServer,
) -> None:
    await server.send('{"data": {"id": 7}}', '{"data": {"id": 7}}', '{"result": null}')

    async with listen(server, idFrom="data.id") as run:
        one, two, three = await run.events(3)

    assert (one.id, two.id) == ("7", "7")
    assert uuid.UUID(three.id)


async def test_an_id_that_none_can_be_is_a_dead_letter(server: WebSocketServer) -> None:
    await server.send('{"id": "a\\u0007"}', '{"id": "b"}')

    async with listen(server, idFrom="id") as run:
        [event] = await run.events(1)
        [letter] = await run.rejected(1)

    assert event.id == "b"
    assert letter.event.data == b'{"id": "a\\u0007"}'


async def test_of_the_subprotocol_of_cloudevents_each_message_is_the_event_that_it_is() -> None:
    event = '{"specversion":"1.0","id":"1","source":"/shop","type":"order","data":{"n":1.0}}'
    async with WebSocketServer(subprotocols=["cloudevents.json"]) as server:
        await server.send("{}", event)
        async with listen(server, subprotocols=["other", "cloudevents.json"]) as run:
            [found] = await run.events(1)
            [letter] = await run.rejected(1)
        assert server.connections[0].subprotocol == "cloudevents.json"

    assert (found.source, found.id, found.data) == ("/shop", "1", b'{"n":1.0}')
    assert letter.event.data == b"{}"
    assert "specversion" in letter.why.reason


async def test_a_server_that_does_not_speak_it_is_told_of_message_by_message(
    server: WebSocketServer,
) -> None:
    event = '{"specversion":"1.0","id":"1","source":"/shop","type":"order"}'
    await server.send(event)

    async with listen(server, subprotocols=["cloudevents.json"]) as run:
        [found] = await run.events(1)

    assert (found.type, found.data) == ("dev.cemesh.websocket.message", event.encode())


# --- what is sent ----------------------------------------------------------------------------


async def test_it_says_who_it_is_and_what_it_wants_each_time_that_it_connects(
    server: WebSocketServer,
) -> None:
    spec: dict[str, Any] = {
        "headers": {"X-Api-Key": "swordfish"},
        "auth": {"bearer": "token"},
        "subscribe": ['{"op": "auth"}', '{"op": "subscribe"}'],
    }
    async with listen(server, **spec) as run:
        await until(lambda: len(server.heard) == 2)
        await run.restart()
        await until(lambda: len(server.heard) == 4)

    assert server.heard == ['{"op": "auth"}', '{"op": "subscribe"}'] * 2
    assert {each["X-Api-Key"] for each in server.headers} == {"swordfish"}
    assert {each["Authorization"] for each in server.headers} == {"Bearer token"}


@pytest.mark.parametrize("trusts", [True, False])
async def test_it_speaks_tls_and_trusts_whom_it_is_told_to(trusts: bool) -> None:
    certificates = make_certificates("127.0.0.1")
    tls: dict[str, Any] = {"tls": {"caCert": certificates.authority}} if trusts else {}
    async with WebSocketServer(tls=certificates.server) as server, listen(server, **tls) as run:
        if trusts:
            await server.send("1")
            assert data(await run.events(1)) == [b"1"]
        else:
            status = await run.until("unhealthy")
            assert "does 'tls.caCert' have the authority of its certificate?" in (
                status.error or ""
            )


# --- what goes wrong -------------------------------------------------------------------------


async def test_it_connects_again_after_the_server_was_restarted(server: WebSocketServer) -> None:
    async with listen(server) as run:
        await server.send("1")
        await run.events(1)
        await server.stop()
        status = await run.until("unhealthy")
        await server.start()
        await run.until("running")
        await server.send("2")
        events = await run.events(1)

    told = f"WebSocket server {server.url}: it closed the connection: 1001 (going away)"
    assert status.error == told
    assert data(events) == [b"2"]


async def test_what_came_before_the_connection_was_lost_is_emitted(
    server: WebSocketServer,
) -> None:
    async with listen(server) as run:
        await server.send("0")
        await run.events(1)
        with run.outage():
            await server.send("1")
            await run.until("unhealthy")
            await server.send(*map(str, range(2, 10)))
            await server.connections[0].close()
        events = await run.events(9)

    assert data(events) == [b"%d" % number for number in range(1, 10)]


async def test_while_the_store_is_away_the_server_waits_and_so_does_the_connection(
    server: WebSocketServer,
) -> None:
    message = os.urandom(100_000)
    async with listen(server, ping="PT0.1S") as run:
        await server.send("first")
        await run.events(1)
        with run.outage():
            sending = asyncio.create_task(server.send(*[message] * 400))
            await run.until("unhealthy")
            # More than what may wait here and in the sockets, for several times a ping.
            done, _ = await asyncio.wait([sending], timeout=0.5)
            assert not done
        events = await run.events(400)
        await sending

    assert {each.data for each in events} == {message}
    assert len(server.connections) == 1


async def test_a_message_that_is_too_long_is_told_of() -> None:
    async with WebSocketServer() as server:
        await server.send("x" * 101)
        async with listen(server, maxMessageBytes=100) as run:
            status = await run.until("unhealthy")

    assert (status.error or "").endswith("it sent a message longer than maxMessageBytes, 100")


async def test_a_server_that_is_silent_is_asked_whether_it_is_there(
    server: WebSocketServer,
) -> None:
    async with Relay(f"127.0.0.1:{free_port()}", to=f"127.0.0.1:{server.port}") as relay:
        url = relay.in_url(server.url)
        async with listen(server, url=url, ping="PT0.2S") as run:
            await server.send("there")
            events = await run.events(1)  # the handshake, too, is heard of at both ends
            with relay.hung():
                status = await run.until("unhealthy")
            await run.until("running")
            await server.send("back")
            events += await run.events(1)

    assert status.error == f"WebSocket server {url}: it answers no ping within 0.2 s"
    assert data(events) == [b"there", b"back"]


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (401, {}, "it answers 401 Unauthorized; are 'auth' and 'headers' those that it knows?"),
        (503, {}, "it answers 503 Service Unavailable"),
        (
            302,
            {"Location": "ws://127.0.0.2:1/"},
            "it redirects to another server; let 'url' lead there",
        ),
    ],
)
async def test_a_server_that_does_not_let_it_in_is_told_of(
    status: int, headers: dict[str, str], told: str
) -> None:
    def answer(_: ServerConnection, __: Handshake) -> Response:
        return Response(status, http.HTTPStatus(status).phrase, Headers(headers), b"")

    async with WebSocketServer(answer=answer) as server:
        url = f"{server.url}?key=swordfish"
        async with listen(server, url=url) as run:
            found = await run.until("unhealthy")

    assert found.error == f"WebSocket server {server.url}?…: {told}"


async def test_what_is_no_websocket_server_is_told_of() -> None:
    async with Subscriber() as server:
        url = server.answers("/", [reply(200)]).replace("http", "ws")
        async with listen(WebSocketServer(), url=url) as run:
            found = await run.until("unhealthy")

    assert found.error == f"WebSocket server {url}: it answers 200 OK"


async def test_a_server_that_is_away_is_told_of() -> None:
    server = WebSocketServer()
    async with listen(server) as run:
        found = await run.until("unhealthy")

    assert found.error == f"WebSocket server {server.url}: Connection refused"


async def test_stopped_it_takes_leave_also_of_a_server_that_does_not_answer() -> None:
    async with Subscriber() as server:
        url = server.answers("/", [hang()]).replace("http", "ws")
        async with listen(WebSocketServer(), url=url) as run:
            await server.received_at("/")
            await run.stop()
            await server.all_closed()


async def test_a_client_that_is_stopped_closes_its_connection(server: WebSocketServer) -> None:
    async with listen(server) as run:
        await server.send(json.dumps([1]))
        await run.events(1)
        await run.stop()
        await server.connections[0].wait_closed()

    assert server.connections[0].close_code == 1000
