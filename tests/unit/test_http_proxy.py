from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker.policy import Network
from sinks.http import HttpClient, NoAnswer
from sinks.http.address import Route
from sinks.http.proxy import parse_proxy, proxy_to
from tests.services.certificates import make_certificates
from tests.services.subscribers import Script, Subscriber, close, hang, raw, reset
from tests.subscribers.places import abandoned
from tests.subscribers.proxy import ConnectProxy

SOON = timedelta(minutes=1)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as entered:
        yield entered


def by(url: str, *no_proxy: str) -> Route:
    return Route(network=Network(proxy=url, no_proxy=no_proxy))


# --- tunnels -------------------------------------------------------------------------------


async def test_requests_go_through_a_tunnel_that_the_proxy_sees_nothing_of(
    subscriber: Subscriber, client: HttpClient
) -> None:
    url = subscriber.url("/orders", host="far.test")
    async with ConnectProxy() as proxy:
        for _ in range(2):
            response = await client.request(
                "POST", url, [(b"ce-id", b"1")], b"event", timeout=SOON, route=by(proxy.url())
            )
            assert response.status == 200

    authority = b"far.test:%d" % subscriber.port
    assert proxy.asked == [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)]
    assert [(each.path, each.body) for each in subscriber.received] == [("/orders", b"event")] * 2


async def test_tls_is_spoken_with_the_subscriber_through_the_tunnel(client: HttpClient) -> None:
    certificates = make_certificates("far.test")
    async with ConnectProxy() as proxy, Subscriber(tls=certificates.server) as subscriber:
        network = Network(proxy=proxy.url())
        route = Route(ca_certs=certificates.authority, network=network)
        url = subscriber.url(host="far.test")
        response = await client.request("POST", url, body=bytes(99_999), timeout=SOON, route=route)
        # A dot at the end makes a name absolute, and is no part of what a certificate has.
        url = subscriber.url(host="far.test.")
        await client.request("POST", url, timeout=SOON, route=route)

        url = subscriber.url(host="other.test")
        with pytest.raises(NoAnswer, match="certificate is not trusted: Hostname mismatch"):
            await client.request("POST", url, timeout=SOON, route=route)

    assert response.status == 200
    assert [each.body for each in subscriber.received] == [bytes(99_999), b""]


async def test_the_proxys_credentials_are_shown_to_the_proxy_alone(
    subscriber: Subscriber, client: HttpClient
) -> None:
    async with ConnectProxy() as proxy:
        route = by(proxy.url("us%65r:pass%3aword@"))
        await client.request("POST", subscriber.url(host="a.test"), timeout=SOON, route=route)

    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\n" in proxy.asked[0]
    assert b"Authorization" not in subscriber.received[0].head
    assert "pass" not in repr(route)


async def test_an_address_in_a_url_is_judged_before_the_proxy_is_asked(client: HttpClient) -> None:
    async with ConnectProxy() as proxy:
        for host in ("10.0.0.1", "169.254.169.254", "167772161", "10.1.", "[64:ff9b::a00:1]"):
            with pytest.raises(NoAnswer, match="not allowed"):
                await client.request("POST", f"http://{host}/", timeout=SOON, route=by(proxy.url()))

    assert proxy.asked == []


async def test_what_is_reached_directly_does_not_share_connections_with_the_proxy(
    subscriber: Subscriber, client: HttpClient
) -> None:
    async with ConnectProxy() as proxy:
        url = subscriber.url(host="localhost")
        network = Network(loopback=True, proxy=proxy.url())
        await client.request("POST", url, timeout=SOON, route=Route(network=network))

    assert proxy.asked == []
    assert subscriber.connections == 1


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("far.test", (), False),
        ("far.test", ("far.test",), True),
        ("a.far.test", ("far.test",), False),
        ("a.far.test", ("*.far.test",), True),
        ("8.8.8.8", (), False),
        ("8.8.8.8", ("8.8.0.0/16",), True),
        ("far.test", ("0.0.0.0/0",), False),
        ("localhost", (), True),
        ("a.localhost.", (), True),
        ("127.0.0.1", (), True),
        ("2130706433", (), True),
        ("::1", (), True),
        ("::ffff:7f00:1", (), True),
    ],
)
def test_the_proxy_is_for_all_but_this_machine_and_what_the_operator_excepts(
    host: str, no_proxy: tuple[str, ...], direct: bool
) -> None:
    network = Network(proxy="http://proxy.test:3128", no_proxy=no_proxy)

    assert (proxy_to(network, host) is None) is direct


# --- proxies that open none ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            raw(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            "the proxy opened no tunnel: it answered 407",
        ),
        (
            raw(b"HTTP/1.0 502\r\nContent-Length: 2\r\n\r\nno"),
            "the proxy opened no tunnel: it answered 502",
        ),
        (
            raw(b"HTTP/1.1 302 Found\r\nLocation: http://a.test/\r\n\r\n"),
            "the proxy opened no tunnel: it answered 302",
        ),
        (raw(b"HTTP/1.1 2", b"00 OK\r\n\r\nsurplus"), "the proxy sent what nobody asked for"),
        (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "the proxy's answer is not valid HTTP/1.1"),
        (raw(b"x" * 20_000), "the proxy's headers are longer than 16384 bytes"),
        (raw(b"HTTP/1.1 200 OK\r\n"), "the proxy closed the connection"),
        (close(), "the proxy closed the connection"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_said_so(
    client: HttpClient, answer: Script, reason: str
) -> None:
    async with ConnectProxy(answer) as proxy:
        with pytest.raises(NoAnswer) as caught:
            await client.request("POST", "http://far.test/", timeout=SOON, route=by(proxy.url()))

    assert caught.value.reason == reason


async def test_a_proxy_that_leaves_once_the_tunnel_is_open_is_no_answer(
    client: HttpClient,
) -> None:
    opened = b"HTTP/1.1 200 OK\r\n\r\n"
    for answer in (raw(opened), reset(opened), hang(opened, b"out of turn")):
        async with ConnectProxy(answer) as proxy:
            with pytest.raises(NoAnswer, match=r"closed|broke|asked for"):
                await client.request(
                    "POST", "http://far.test/", timeout=SOON, route=by(proxy.url())
                )
            await proxy.all_closed()


async def test_a_proxy_that_hangs_is_said_so(client: HttpClient) -> None:
    moment = timedelta(milliseconds=200)
    async with ConnectProxy(hang(b"HTTP/1.1 200 OK\r\n")) as proxy:
        with pytest.raises(NoAnswer) as caught:
            await client.request("POST", "http://far.test/", timeout=moment, route=by(proxy.url()))
        await proxy.all_closed()

    assert caught.value.reason == "no answer within 0.2 s: waiting for the proxy's tunnel"


async def test_a_proxy_that_is_gone_is_told_from_a_subscriber_that_is(client: HttpClient) -> None:
    async with abandoned() as place:
        route = by(place.url)
        with pytest.raises(NoAnswer, match="the proxy refused to connect"):
            await client.request("POST", "http://far.test/", timeout=SOON, route=route)


# --- their URLs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://user:secret@proxy.test:3128", "not an http URL"),
        ("socks5://user:secret@proxy.test:1080", "not an http URL"),
        ("http://user:secret@proxy.test", "names no host and port"),
        ("http://user:secret@:3128", "names no host and port"),
        ("http://user:secret@proxy.test:99999", "cannot be read"),
        ("http://user:secret@proxy.test:3128/path", "has a path"),
        ("user:secret@proxy.test:3128", "not an http URL"),
    ],
)
def test_a_proxys_url_that_cannot_be_used_is_refused_without_being_shown(
    url: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_proxy(url)

    assert "secret" not in str(caught.value)
    assert "secret" not in repr(parse_proxy("http://user:secret@proxy.test:3128"))
