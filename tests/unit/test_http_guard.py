from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from ipaddress import ip_address

import pytest

import sinks.http.client
from broker.policy import Network
from broker.ports import SinkOptions
from broker.trigger import Target
from sinks.http import HttpClient, HttpSinks, NoAnswer
from sinks.http.address import Route
from sinks.http.destinations import parse_destination
from sinks.http.guard import Kind, kind_of, refusal
from sinks.http.names import Names
from tests.services.subscribers import Subscriber

SOON = timedelta(minutes=1)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with Subscriber() as running:
        yield running


def refused_for(host: str, address: str, *allowed: str, loopback: bool = False) -> str | None:
    return refusal(Network(allowed=allowed, loopback=loopback), host, address)


# --- which addresses are public ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        (None, "8.8.8.8 1.1.1.1 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 198.20.0.0"),
        (None, "2a00::1 2606:4700:4700::1111 2003::"),
        (Kind.LOOPBACK, "127.0.0.1 127.255.255.255 ::1"),
        (Kind.PRIVATE, "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.1"),
        (
            Kind.PRIVATE,
            "fc00:: fdff::",
        ),
        (Kind.SHARED, "100.64.0.0 100.127.255.255"),
        (Kind.LINK_LOCAL, "169.254.0.1 169.254.170.2 fe80::1 febf::1"),
        (Kind.METADATA, "169.254.169.254 168.63.129.16 100.100.100.200 fd00:ec2::254 fd20:ce::254"),
        (Kind.UNSPECIFIED, "0.0.0.0 0.1.2.3 ::"),
        (Kind.MULTICAST, "224.0.0.1 239.255.255.255 ff02::1"),
        (Kind.BROADCAST, "255.255.255.255"),
        (Kind.DOCUMENTATION, "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1"),
        (Kind.BENCHMARKING, "198.18.0.1 198.19.255.255 2001:2::1"),
        (Kind.RESERVED, "240.0.0.1 192.0.0.1 192.88.99.1 100:: fec0::1 5f00::1"),
    ],
)
def test_an_address_that_is_not_public_has_a_kind(kind: Kind | None, addresses: str) -> None:
    kinds = {each: kind_of(ip_address(each)) for each in addresses.split()}

    assert kinds == dict.fromkeys(addresses.split(), kind)


@pytest.mark.parametrize(
    ("hiding", "kind"),
    [
        ("::ffff:{}", Kind.LOOPBACK),
        ("64:ff9b::{}", Kind.LOOPBACK),
        ("::{}", Kind.RESERVED),  # IPv4-compatible
        ("::ffff:0:{}", Kind.RESERVED),  # IPv4-translated
        ("64:ff9b:1::{}", Kind.RESERVED),  # local NAT64
        ("2001:0:{}::1", Kind.RESERVED),  # Teredo
        ("2002:{}::1", Kind.LOOPBACK),  # 6to4
        ("2a00:1:2:3:0:5efe:{}", Kind.LOOPBACK),  # ISATAP
        ("2a00:1:2:3:200:5efe:{}", Kind.LOOPBACK),
        ("fd00::5efe:{}", Kind.PRIVATE),
        ("fe80::5efe:{}", Kind.LINK_LOCAL),
    ],
)
def test_an_address_within_an_ipv6_address_is_found(hiding: str, kind: Kind) -> None:
    assert kind_of(ip_address(hiding.format("7f00:1"))) is kind


@pytest.mark.parametrize("hiding", ["::ffff:{}", "64:ff9b::{}", "2002:{}::1", "2a00::5efe:{}"])
def test_a_public_address_within_an_ipv6_address_is_public(hiding: str) -> None:
    assert kind_of(ip_address(hiding.format("808:808"))) is None
    assert kind_of(ip_address(hiding.format("a9fe:a9fe"))) is Kind.METADATA


# --- what is allowed -----------------------------------------------------------------------


def test_an_address_is_refused_with_its_kind_and_what_would_allow_it() -> None:
    assert refused_for("10.0.0.5", "10.0.0.5") == (
        "10.0.0.5 is a private address and not allowed (see --allow-destination 10.0.0.5)"
    )
    assert refused_for("api.test", "127.0.0.1") == (
        "api.test leads to 127.0.0.1, which is a loopback address and not allowed"
        " (see --allow-destination api.test)"
    )
    assert refused_for("api.test", "169.254.169.254") == (
        "api.test leads to 169.254.169.254, which is a cloud's metadata service and not allowed"
        " (see --allow-destination 169.254.169.254)"
    )


@pytest.mark.parametrize(
    ("allowed", "host", "address", "passes"),
    [
        ("10.0.0.5", "10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "a.test", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", "10.0.0.6", False),
        ("10.0.0.0/8", "a.test", "10.255.0.1", True),
        ("10.0.0.0/8", "a.test", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "a.test", "64:ff9b::a00:1", False),
        ("0.0.0.0/0", "169.254.169.254", "169.254.169.254", True),
        ("0.0.0.0/0", "a.test", "::1", False),
        ("fe80::/10", "a.test", "fe80::1%2", True),
        ("api.internal", "api.internal", "10.0.0.1", True),
        ("API.internal.", "api.internal", "10.0.0.1", True),
        ("api.internal", "api.internal.", "10.0.0.1", True),
        ("api.internal", "x.api.internal", "10.0.0.1", False),
        ("*.internal", "x.api.internal", "10.0.0.1", True),
        ("*.internal", "internal", "10.0.0.1", False),
        ("*.internal", "notinternal", "10.0.0.1", False),
        ("localhost", "localhost", "::1", True),
        ("api.internal", "api.internal", "100.64.0.1", True),
        ("api.internal", "api.internal", "169.254.169.254", False),
        ("api.internal", "api.internal", "fd00:ec2::254", False),
        ("api.internal", "api.internal", "0.0.0.0", False),
        ("api.internal", "api.internal", "fe80::1", False),
    ],
)
def test_what_the_operator_names_is_let_in(
    allowed: str, host: str, address: str, passes: bool
) -> None:
    assert (refused_for(host, address, allowed) is None) is passes


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("64:ff9b::7f00:1", False),  # the gateway's own
        ("2a00::5efe:7f00:1", False),  # likewise
        ("0.0.0.0", False),
        ("10.0.0.1", False),
    ],
)
def test_a_mesh_that_allows_loopback_allows_nothing_else(address: str, passes: bool) -> None:
    assert (refused_for("a.test", address, loopback=True) is None) is passes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.0.0.1/8", "an address within a network: 10.0.0.0/8?"),
        ("0x7f.1", "another spelling: 127.0.0.1?"),
        ("2130706433", "another spelling: 127.0.0.1?"),
        ("127.0.0.1.", "another spelling: 127.0.0.1?"),
        ("::ffff:10.0.0.1", "write it as IPv4"),
        ("fe80::1%eth0", "names an interface"),
        ("*", "0.0.0.0/0 and ::/0 are all addresses"),
        ("a.test:80", "no host name"),
        ("http://a.test", "no host name"),
        ("[::1]", "no host name"),
        ("a.*.test", "no host name"),
        ("a..test", "no host name"),
        ("a b", "no host name"),
        ("", "no host name"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^.*$") as caught:
        parse_destination(text)

    assert why in str(caught.value)


def test_a_name_may_be_written_in_any_script() -> None:
    assert parse_destination("Bücher.example") == "xn--bcher-kva.example"


# --- where connections lead ----------------------------------------------------------------


async def refused(client: HttpClient, url: str, network: Network) -> str:
    with pytest.raises(NoAnswer) as caught:
        await client.request("POST", url, timeout=SOON, route=Route(network=network))
    return caught.value.reason


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:7f00:1]", "localhost"],
)
async def test_no_spelling_of_an_address_passes_the_guard(
    subscriber: Subscriber, host: str
) -> None:
    url = f"http://{host}:{subscriber.port}/"
    async with HttpClient() as client:
        reason = await refused(client, url, Network())

        allowed = Route(network=Network(loopback=True))
        assert (await client.request("POST", url, timeout=SOON, route=allowed)).status == 200

    assert "is a loopback address and not allowed" in reason
    assert subscriber.connections == 1


async def test_a_connection_that_is_kept_serves_nobody_whom_the_guard_would_stop(
    subscriber: Subscriber,
) -> None:
    async with HttpClient() as client:
        await client.request("POST", subscriber.url(), timeout=SOON)

        assert "not allowed" in await refused(client, subscriber.url(), Network())


async def test_a_name_is_judged_by_where_it_leads_each_time(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to = [["127.0.0.2"], ["127.0.0.1"]]

    def lookup(host: str, port: int) -> Sequence[str]:
        return leads_to.pop(0)

    monkeypatch.setattr(sinks.http.client, "Names", partial(Names, lookup))
    url = subscriber.url(host="rebound.test")
    network = Network(allowed=("127.0.0.2",))
    async with HttpClient() as client:
        assert await refused(client, url, network) == "connection refused"
        assert "rebound.test leads to 127.0.0.1" in await refused(client, url, network)

    assert subscriber.connections == 0


async def test_of_a_names_addresses_those_that_are_allowed_are_tried(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subscriber(port=subscriber.port, host="127.0.0.2") as forbidden:

        def lookup(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.2", "127.0.0.1"]

        monkeypatch.setattr(sinks.http.client, "Names", partial(Names, lookup))
        route = Route(network=Network(allowed=("127.0.0.1",)))
        async with HttpClient() as client:
            url = subscriber.url(host="both.test")
            response = await client.request("POST", url, timeout=SOON, route=route)

    assert response.status == 200
    assert forbidden.connections == 0


@pytest.mark.parametrize(
    ("url", "allowed", "told"),
    [
        ("http://10.1.2.3/", (), ["http://10.1.2.3/"]),
        ("http://0x7f.1/", (), ["http://0x7f.1/"]),
        ("http://10.1.2.3/", ("10.0.0.0/8",), []),
        ("http://a.internal/", (), []),
        ("http://8.8.8.8/", (), []),
    ],
)
async def test_a_destination_that_no_attempt_will_reach_is_told_when_it_is_first_heard_of(
    caplog: pytest.LogCaptureFixture, url: str, allowed: tuple[str, ...], told: list[str]
) -> None:
    options = SinkOptions(namespace="a", timeout=SOON, network=Network(allowed=allowed))
    async with HttpSinks() as sinks:
        sinks.sink(Target(url=url), options)

    warned = [each for each in caplog.records if each.getMessage() == "destination not allowed"]
    assert [each.__dict__["destination"] for each in warned] == told
    assert all("--allow-destination" in each.__dict__["why"] for each in warned)
