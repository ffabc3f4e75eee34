from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import sinks.http.client
import sinks.http.dial
from broker.policy import Network
from sinks.http import HttpClient, InvalidUrl, NoAnswer
from sinks.http.address import Route
from sinks.http.names import Names
from sinks.http.reader import MAX_BODY
from sinks.http.tls import certificate_fault
from tests.services.certificates import make_certificates
from tests.services.subscribers import (
    Script,
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
from tests.subscribers.sockets import black_hole, complaining, half_open

SOON = timedelta(minutes=1)
AT_ONCE = timedelta(milliseconds=200)
A_MOMENT = timedelta(milliseconds=500)
"""Enough to have begun by then."""


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as entered:
        yield entered


async def refusal(
    client: HttpClient, url: str, *, within: timedelta = SOON, ca_certs: str | None = None
) -> str:
    with pytest.raises(NoAnswer) as caught:
        await client.request("POST", url, timeout=within, route=Route(ca_certs=ca_certs))
    return caught.value.reason


# --- requests ------------------------------------------------------------------------------


async def test_a_request_holds_what_was_given_and_nothing_else(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.url("/a%20b?c=d&e#fragment")

    await client.request("POST", url, [(b"ce-id", b"1")], b"\x00\xff", timeout=SOON)

    (request,) = subscriber.received
    assert request.head == (
        b"POST /a%%20b?c=d&e HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nce-id: 1\r\n"
        b"Content-Length: 2\r\n\r\n" % subscriber.port
    )
    assert request.body == b"\x00\xff"


async def test_a_post_without_a_body_says_that_it_is_empty(
    subscriber: Subscriber, client: HttpClient
) -> None:
    await client.request("POST", subscriber.url(), timeout=SOON)
    await client.request("OPTIONS", subscriber.url(), timeout=SOON)

    post, options = subscriber.received
    assert post.header("Content-Length") == "0"
    assert options.header("Content-Length") is None


async def test_a_large_body_arrives_byte_for_byte(
    subscriber: Subscriber, client: HttpClient
) -> None:
    body = bytes(range(256)) * 8192

    await client.request("POST", subscriber.url(), body=body, timeout=SOON)

    assert subscriber.received[0].body == body


async def test_a_line_break_does_not_become_a_header(
    subscriber: Subscriber, client: HttpClient
) -> None:
    for value in (b"1\r\nx: y", b"1\nx: y", b"1\rx: y"):
        with pytest.raises(ValueError, match="line break"):
            await client.request("POST", subscriber.url(), [(b"ce-id", value)], timeout=SOON)

    assert subscriber.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@127.0.0.1/",
        "http://user@127.0.0.1/",
        "http:///path",
        "http://:80/",
        "http://[::1/",
        "http://[::g]/",
        "http://[fe80::1%25eth0]/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://a b/",
        "http://a/b\tc",
        "http://a/b\r\nc",
        "http://a/ü",
        "http://a,b/",
        "http://" + "a" * 64 + "/",
        "ftp://127.0.0.1/",
        "/relative",
        "",
    ],
)
async def test_a_url_that_leads_nowhere_is_refused(client: HttpClient, url: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        await client.request("POST", url, timeout=SOON)

    assert "password@" not in str(caught.value)


async def test_an_ipv6_literal_is_connected_to_and_named_in_brackets(client: HttpClient) -> None:
    hosts: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("needs IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        response = await client.request("POST", f"http://[0:0::1]:{port}/", timeout=SOON)

    assert response.status == 204
    assert b"Host: [::1]:%d\r\n" % port in hosts[0]


# --- answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "body"),
    [
        (reply(200, {"X": "y"}, b"hello"), b"hello"),
        (chunked(200, {"X": "y"}, [b"hel", b"lo"]), b"hello"),
        (until_close(200, {"X": "y"}, b"hello"), b"hello"),
        (raw(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nhello"), b"hello"),
        (raw(b"HTTP/1.1 200\r\nX:   y \t\r\nContent-Length: 0\r\n\r\n"), b""),
        (raw(b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\n", b"hello"), b"hello"),
        (
            raw(
                b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"5;ext=1\r\nhello\r\n0\r\nTrailer: z\r\n\r\n",
            ),
            b"hello",
        ),
    ],
    ids=["length", "chunks", "until close", "HTTP/1.0", "empty", "two segments", "trailers"],
)
async def test_an_answer_is_read_however_its_body_is_framed(
    subscriber: Subscriber, client: HttpClient, script: Script, body: bytes
) -> None:
    url = subscriber.answers("/", [script])

    response = await client.request("POST", url, timeout=SOON)

    assert (response.status, response.body, response.truncated) == (200, body, False)
    assert response.header(b"x") == b"y"
    assert response.header(b"trailer") is None


async def test_interim_answers_are_skipped(subscriber: Subscriber, client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    url = subscriber.answers("/", [raw(interim, b"HTTP/1.1 204 No Content\r\n\r\n")])

    response = await client.request("POST", url, timeout=SOON)

    assert (response.status, list(response.headers)) == (204, [])


async def test_a_redirect_is_returned_and_not_followed(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [reply(307, {"Location": subscriber.url("/elsewhere")})])

    response = await client.request("POST", url, timeout=SOON)

    assert response.status == 307
    assert [each.path for each in subscriber.received] == ["/"]


async def test_an_answer_is_taken_before_the_body_is_sent(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [early(reply(413, body=b"too large"))])

    response = await client.request("POST", url, body=bytes(16 << 20), timeout=SOON)

    assert (response.status, response.body) == (413, b"too large")


async def test_a_body_beyond_the_bound_is_cut_and_ends_the_connection(
    subscriber: Subscriber, client: HttpClient
) -> None:
    just = reply(200, body=bytes(MAX_BODY))
    url = subscriber.answers("/", [just, reply(200, body=bytes(MAX_BODY + 1)), just])

    responses = [await client.request("POST", url, timeout=SOON) for _ in range(3)]

    assert [len(each.body) for each in responses] == [MAX_BODY, MAX_BODY, MAX_BODY]
    assert [each.truncated for each in responses] == [False, True, False]
    assert subscriber.connections == 2


ENDLESS_BODY = endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(65536))
ENDLESS_CHUNKS = endless(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"
)


@pytest.mark.parametrize("script", [ENDLESS_BODY, ENDLESS_CHUNKS])
async def test_an_endless_body_is_cut(
    subscriber: Subscriber, client: HttpClient, script: Script
) -> None:
    response = await client.request("POST", subscriber.answers("/", [script]), timeout=SOON)

    assert (len(response.body), response.truncated) == (MAX_BODY, True)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (close(), "the connection was closed before the answer"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-"), "closed in the middle of the answer"),
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"),
            "closed in the middle of the answer",
        ),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            "closed in the middle of the answer",
        ),
        (reset(), "Connection reset by peer"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), "closed in the middle of the answer"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "the answer is not valid HTTP/1.1"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "not valid HTTP/1.1"),
        (raw(b"HTTP/1.1 101 Hi\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx"), "not valid"),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4096), "headers are longer than 65536 bytes"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), "headers are longer than"),
        (
            endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536),
            "padded to more than",
        ),
    ],
)
async def test_what_is_no_answer_is_said_in_plain_words(
    subscriber: Subscriber, client: HttpClient, script: Script, reason: str
) -> None:
    url = subscriber.answers("/", [script])

    assert reason in await refusal(client, url)


@pytest.mark.parametrize(
    ("script", "stage"),
    [
        (hang(), "waiting for the answer"),
        (hang(b"HTTP/1.1 200 OK\r\nContent-"), "in the middle of the answer's headers"),
        (
            hang(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"),
            "in the middle of the answer's body",
        ),
        (hang(b"HTTP/1.1 200 OK\r\n\r\nhell"), "in the middle of the answer's body"),
        (hang(b"HTTP/1.1 100 Continue\r\n\r\n"), "in the middle of the answer's headers"),
    ],
)
async def test_the_time_covers_the_whole_answer_and_says_how_far_it_came(
    subscriber: Subscriber, client: HttpClient, script: Script, stage: str
) -> None:
    url = subscriber.answers("/", [200, script])
    await client.request("POST", url, timeout=SOON)

    assert await refusal(client, url, within=A_MOMENT) == f"no answer within 0.5 s: {stage}"


async def test_the_time_covers_a_body_that_is_not_taken(client: HttpClient) -> None:
    async with half_open() as url:
        with pytest.raises(NoAnswer) as caught:
            await client.request("POST", url, body=bytes(64 << 20), timeout=A_MOMENT)

    stage = r"sending the request \(([\d,]+) of 67,108,\d+ bytes are written\)"
    told = re.fullmatch(rf"no answer within 0\.5 s: {stage}", caught.value.reason)
    assert told is not None
    assert 0 < int(told[1].replace(",", "")) < 64 << 20


async def test_the_time_covers_a_name_that_is_looked_up_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = Event()

    def lookup(host: str, port: int) -> Sequence[str]:
        go.wait()
        return ["127.0.0.1"]

    monkeypatch.setattr(sinks.http.client, "Names", partial(Names, lookup))
    async with HttpClient() as client:
        reason = await refusal(client, "http://slow.test/", within=AT_ONCE)
        go.set()

    assert reason == "no answer within 0.2 s: looking up the name"


async def test_the_time_covers_a_connection_that_is_not_taken(client: HttpClient) -> None:
    async with black_hole() as url:
        reason = await refusal(client, url, within=AT_ONCE)

    assert reason == "no answer within 0.2 s: connecting to 127.0.0.1"


async def test_an_address_that_does_not_respond_does_not_take_the_whole_attempt(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks.http.dial, "_LONGEST", AT_ONCE)

    async with black_hole() as url:
        reason = await refusal(client, url)

    assert reason == "no connection within 0.2 s: connecting to 127.0.0.1"


async def test_a_peer_that_does_not_speak_tls_does_not_take_the_whole_attempt(
    subscriber: Subscriber, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks.http.dial, "_LONGEST", AT_ONCE)

    async with half_open() as url:
        reason = await refusal(client, url.replace("http:", "https:"))

    assert reason == "no connection within 0.2 s: shaking hands with 127.0.0.1"


async def test_a_refused_connection_is_said_so(client: HttpClient) -> None:
    async with Subscriber() as gone:
        url = gone.url()

    assert await refusal(client, url) == "connection refused"


async def test_a_name_that_does_not_exist_is_said_so(client: HttpClient) -> None:
    reason = await refusal(client, "http://no-such-host.invalid/")

    assert reason.startswith(("name not found: no-such-host.invalid", "name not resolved: no-such"))


# --- connections ---------------------------------------------------------------------------


async def test_a_connection_serves_one_request_after_the_other(
    subscriber: Subscriber, client: HttpClient
) -> None:
    scripts = [reply(200, body=b"x"), chunked(503, chunks=[b"x"]), reply(204)]
    url = subscriber.answers("/", scripts)

    statuses = [(await client.request("POST", url, timeout=SOON)).status for _ in range(4)]

    assert statuses == [200, 503, 204, 204]
    assert subscriber.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    url = subscriber.answers("/", [after(go, 200)])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(client.request("POST", url, timeout=SOON))
        await subscriber.received_at("/", 5)
        go.set()

    assert subscriber.connections == 5


@pytest.mark.parametrize(
    "script",
    [
        reply(200, {"Connection": "close"}),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        hang(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        hang(b"HTTP/1.1 204 No Content\r\n\r\nsurplus"),
    ],
    ids=["Connection: close", "HTTP/1.0", "a second answer", "surplus bytes"],
)
async def test_a_connection_that_cannot_be_trusted_any_more_is_not_used_again(
    subscriber: Subscriber, client: HttpClient, script: Script
) -> None:
    url = subscriber.answers("/", [script, 201])

    await client.request("POST", url, timeout=SOON)
    response = await client.request("POST", url, timeout=SOON)

    assert response.status == 201
    assert subscriber.connections == 2


async def test_a_late_second_answer_is_not_taken_for_the_next_one(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    late = Script((*reply(200).actions, *after(go, 500).actions, *hang().actions))
    url = subscriber.answers("/", [late, 201])

    await client.request("POST", url, timeout=SOON)
    go.set()
    await subscriber.all_closed()
    response = await client.request("POST", url, timeout=SOON)

    assert response.status == 201


async def test_a_request_does_not_follow_a_body_that_was_not_sent_in_full(
    subscriber: Subscriber, client: HttpClient
) -> None:
    go = asyncio.Event()
    wait_on = Script((*reply(200).actions, *after(go, 200).actions), early=True)
    url = subscriber.answers("/", [wait_on, 201])

    await client.request("POST", url, body=bytes(32 << 20), timeout=SOON)
    response = await client.request("POST", url, timeout=SOON)
    go.set()

    assert response.status == 201
    assert subscriber.connections == 2


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [Script((*reply(200).actions, *close().actions)), 201])

    await client.request("POST", url, timeout=SOON)
    response = await client.request("POST", url, timeout=SOON)

    assert response.status == 201


@pytest.mark.parametrize("ending", [close(), reset()])
async def test_a_kept_connection_that_closes_on_the_request_is_replaced_once(
    subscriber: Subscriber, client: HttpClient, ending: Script
) -> None:
    url = subscriber.answers("/", [200, ending, 201])
    await client.request("POST", url, timeout=SOON)

    response = await client.request("POST", url, body=b"again", timeout=SOON)

    assert response.status == 201
    assert [each.body for each in subscriber.received] == [b"", b"again", b"again"]
    assert subscriber.connections == 2


async def test_a_fresh_connection_that_closes_is_no_answer(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [200, close(), close(), 201])
    await client.request("POST", url, timeout=SOON)

    await refusal(client, url)

    assert len(subscriber.received) == 3


async def test_an_answer_that_broke_off_is_not_asked_for_again(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [200, raw(b"HTTP/1.1 200 O"), 201])
    await client.request("POST", url, timeout=SOON)

    await refusal(client, url)

    assert len(subscriber.received) == 2


async def test_a_request_that_is_cancelled_closes_its_connection(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.answers("/", [hang(), 201])
    task = asyncio.create_task(client.request("POST", url, timeout=SOON))
    await subscriber.received_at("/")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await subscriber.all_closed()
    response = await client.request("POST", url, timeout=SOON)
    assert response.status == 201


async def test_leaving_the_client_closes_its_connections(subscriber: Subscriber) -> None:
    go = asyncio.Event()
    url = subscriber.answers("/", [after(go, 200)])
    async with HttpClient() as client, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(client.request("POST", url, timeout=SOON))
        await subscriber.received_at("/", 3)
        go.set()

    await subscriber.all_closed()


async def test_a_connection_that_rests_too_long_is_closed(
    subscriber: Subscriber, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks.http.client, "_IDLE_TIME", timedelta(milliseconds=20))

    await client.request("POST", subscriber.url(), timeout=SOON)

    await subscriber.all_closed()


async def test_no_more_connections_are_kept_than_the_bound(
    subscriber: Subscriber, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks.http.client, "_MAX_IDLE", 2)
    go = asyncio.Event()
    url = subscriber.answers("/", [after(go, 200)])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(client.request("POST", url, timeout=SOON))
        await subscriber.received_at("/", 5)
        go.set()

    await subscriber.all_closed(but=2)


# --- names ---------------------------------------------------------------------------------


async def test_the_next_address_of_a_name_is_tried_when_one_refuses(
    subscriber: Subscriber, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def addresses(self: Names, host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr(Names, "addresses", addresses)

    response = await client.request("POST", subscriber.url(host="two.test"), timeout=SOON)

    assert response.status == 200


async def test_one_lookup_serves_all_who_wait_for_the_name() -> None:
    asked: list[str] = []

    def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["192.0.2.1"]

    with Names(lookup) as names:
        found = await asyncio.gather(*(names.addresses("a.test", 80) for _ in range(5)))
        again = await names.addresses("a.test", 80)

    assert [*found, again] == [["192.0.2.1"]] * 6
    assert asked == ["a.test", "a.test"]


async def test_a_lookup_outlives_the_one_who_asked_first() -> None:
    loop = asyncio.get_running_loop()
    asked, go = asyncio.Event(), asyncio.Event()

    def lookup(host: str, port: int) -> Sequence[str]:
        loop.call_soon_threadsafe(asked.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")

    with Names(lookup) as names:
        first = asyncio.create_task(names.addresses("a.test", 80))
        await asked.wait()
        second = asyncio.create_task(names.addresses("a.test", 80))
        first.cancel()
        go.set()
        with pytest.raises(NoAnswer, match=r"name not resolved: a\.test: Temporary failure"):
            await second


# --- TLS -----------------------------------------------------------------------------------


async def test_tls_trusts_the_authority_that_was_added(client: HttpClient) -> None:
    certificates = make_certificates()
    async with Subscriber(tls=certificates.server) as subscriber:
        for host in ("localhost", "127.0.0.1"):
            response = await client.request(
                "POST",
                subscriber.url(host=host),
                body=bytes(100_000),
                timeout=SOON,
                route=Route(ca_certs=f"# Ä comment\n{certificates.authority}"),
            )
            assert response.status == 200
        assert subscriber.received[0].body == bytes(100_000)


async def test_tls_trusts_what_all_trust_and_what_was_added_beside_it(
    client: HttpClient, tmp_path: Path
) -> None:
    of_all, added = make_certificates(), make_certificates()
    network = Network(loopback=True, ca_certs=of_all.ca_file(tmp_path))
    route = Route(ca_certs=added.authority, network=network)
    for certificates in (of_all, added):
        async with Subscriber(tls=certificates.server) as subscriber:
            url = subscriber.url(host="localhost")

            response = await client.request("POST", url, timeout=SOON, route=route)

        assert response.status == 200


async def test_tls_does_not_trust_an_authority_that_nobody_named(client: HttpClient) -> None:
    async with Subscriber(tls=make_certificates().server) as subscriber:
        reason = await refusal(client, subscriber.url(host="localhost"))

    assert reason.startswith("certificate is not trusted: ")
    assert subscriber.received == []


async def test_tls_checks_the_name_in_the_certificate(client: HttpClient) -> None:
    certificates = make_certificates("elsewhere.test")
    async with Subscriber(tls=certificates.server) as subscriber:
        reason = await refusal(
            client, subscriber.url(host="localhost"), ca_certs=certificates.authority
        )

    assert "Hostname mismatch" in reason


async def test_tls_keeps_connections_apart_by_whom_they_trust(client: HttpClient) -> None:
    certificates = make_certificates()
    async with Subscriber(tls=certificates.server) as subscriber:
        url = subscriber.url(host="localhost")
        await client.request(
            "POST", url, timeout=SOON, route=Route(ca_certs=certificates.authority)
        )

        assert "not trusted" in await refusal(client, url)


async def test_a_plain_server_spoken_to_with_tls_is_said_so(client: HttpClient) -> None:
    async with complaining() as url:
        reason = await refusal(client, url.replace("http:", "https:"))

    assert reason.startswith("TLS failed: ")


async def test_a_server_is_shown_the_certificate_of_the_route(client: HttpClient) -> None:
    certificates = make_certificates()
    certificates.server.verify_mode = ssl.CERT_REQUIRED
    certificates.server.load_verify_locations(cadata=certificates.authority)
    bare = Route(ca_certs=certificates.authority)
    async with Subscriber(tls=certificates.server) as subscriber:
        url = subscriber.url(host="localhost")
        shown = replace(bare, certificate=certificates.client)
        assert (await client.request("POST", url, timeout=SOON, route=shown)).status == 200

        with pytest.raises(NoAnswer):
            await client.request("POST", url, timeout=SOON, route=bare)


async def test_a_server_that_asks_for_a_certificate_in_vain_is_said_so(client: HttpClient) -> None:
    certificates = make_certificates()
    certificates.server.verify_mode = ssl.CERT_REQUIRED

    def serve(listening: socket.socket) -> None:
        # Asyncio's own servers hang up without the alert that says why. The second descriptor
        # keeps the connection open until the client has read it.
        peer, _ = listening.accept()
        with peer, peer.dup() as kept:
            with contextlib.suppress(ssl.SSLError):
                certificates.server.wrap_socket(peer, server_side=True)
            while kept.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(serve, listening))
        reason = await refusal(
            client,
            f"https://127.0.0.1:{listening.getsockname()[1]}/",
            ca_certs=certificates.authority,
        )
        await serving

    assert reason == "TLS failed: tlsv13 alert certificate required"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key": "other"}, "they do not belong together"),
        ({"key": "encrypted"}, "the key is encrypted"),
        ({"key": "-----BEGIN"}, "they are not both in PEM"),
        ({"certificate": "no PEM"}, "they are not both in PEM"),
    ],
)
async def test_a_client_certificate_that_cannot_be_used_is_said_so_without_being_shown(
    client: HttpClient, change: dict[str, str], why: str
) -> None:
    given = make_certificates().client
    key = load_pem_private_key(given.key.encode(), None)
    keys = {
        "other": make_certificates().client.key,
        "encrypted": key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        ).decode(),
    }
    bad = replace(given, **{name: keys.get(value, value) for name, value in change.items()})

    with pytest.raises(NoAnswer) as caught:
        await client.request(
            "POST", "https://127.0.0.1:1/", timeout=SOON, route=Route(certificate=bad)
        )

    assert caught.value.reason == certificate_fault(bad)
    assert caught.value.reason == f"the client certificate and its key cannot be used: {why}"
    assert certificate_fault(given) is None


async def test_a_handshake_that_takes_too_long_is_given_up(client: HttpClient) -> None:
    given_up = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        given_up.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await refusal(client, f"https://127.0.0.1:{port}/", within=A_MOMENT)

        async with asyncio.timeout(30):
            await given_up.wait()


async def test_a_peer_that_closes_in_the_handshake_is_said_so(client: HttpClient) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(leave, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reason = await refusal(client, f"https://127.0.0.1:{port}/")

    assert reason == "the connection was closed while shaking hands with 127.0.0.1"


async def test_certificates_that_cannot_be_read_are_said_so(client: HttpClient) -> None:
    reason = await refusal(client, "https://127.0.0.1:1/", ca_certs="no PEM")

    assert reason.startswith("the CA certificates to trust cannot be read")
