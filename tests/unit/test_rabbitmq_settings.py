"""What a broker's configuration and ``--channel`` say to the RabbitMQ channel, and must not say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest
from aiormq import Connection
from hypothesis import given
from hypothesis import strategies as st

from broker.channels.rabbitmq.security import Security
from broker.channels.rabbitmq.settings import Defaults, Settings, check, from_url, settings
from broker.characters import hidden
from broker.connections.rabbitmq.address import Address, vhost_fault
from broker.errors import CemeshError

BROKER: Final = "shop/orders"
URL: Final = {"url": "amqp://rabbit"}


def read(config: Mapping[str, str], *, channel: str = "amqp:") -> Settings:
    return settings(BROKER, config, {}, defaults=from_url(channel))


def faults(config: Mapping[str, str]) -> list[str]:
    return [str(fault) for fault in check(config, {})]


def refused(channel: str) -> str:
    with pytest.raises(CemeshError) as caught:
        from_url(channel)
    return str(caught.value)


# --- the configuration -----------------------------------------------------------------------


def test_what_a_configuration_does_not_say_is_as_with_knative() -> None:
    found = read(URL)

    assert found == Settings(
        host="rabbit", port=5672, tls=False, vhost="/", queue_type="quorum", security=Security()
    )
    assert found.server == "rabbit:5672"


def test_a_configuration_says_where_the_server_is_and_what_its_queues_are() -> None:
    config = {
        "url": "amqps://rabbit.infra:5679/unused",
        "vhost": "shop",
        "queueType": "classic",
        "_example": "url: …",
    }

    found = read(config)

    assert check(config, {}) == []
    assert (found.server, found.tls) == ("rabbit.infra:5679", True)
    assert (found.vhost, found.queue_type) == ("shop", "classic")


@pytest.mark.parametrize(
    ("url", "server", "tls", "vhost"),
    [
        ("amqp://rabbit", "rabbit:5672", False, "/"),
        ("amqps://rabbit", "rabbit:5671", True, "/"),
        ("AMQP://rabbit:1/", "rabbit:1", False, "/"),
        ("amqp://[::1]:65535//", "[::1]:65535", False, "/"),
        ("amqp://10.0.0.1/%2F", "10.0.0.1:5672", False, "/"),
        ("amqp://my_rabbit.infra.svc/a%2Fb%20%C3%A9", "my_rabbit.infra.svc:5672", False, "a/b é"),
    ],
)
def test_a_url_says_server_tls_and_virtual_host(
    url: str, server: str, tls: bool, vhost: str
) -> None:
    found = read({"url": url})

    assert (found.server, found.tls, found.vhost) == (server, tls, vhost)


NOT_A_URL = "is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://"
WRONG_URLS = [
    *((url, NOT_A_URL) for url in (
        "rabbit:5672", "http://rabbit", "amqp:rabbit", "amqp://", "amqp://:5672", "amqp://a,b",
        "amqp://[::1", "amqp://rabbit:", "amqp://rabbit:port", "amqp://rabbit/?heartbeat=1",
        "amqp://rabbit#x", "amqp://a@b@rabbit", "amqp://u:p#x@rabbit", "amqp://u:p/x@rabbit",
    )),
    ("amqp://rabbit:0", "has a port that is no number from 1 to 65535"),
    ("amqp://rabbit:65536", "has a port that is no number from 1 to 65535"),
    ("amqp://orders@rabbit", "has a user or a password, and not the other one"),
    ("amqp://:sesame@rabbit", "has a user or a password, and not the other one"),
    ("amqp://rabbit/a/b", "has a virtual host with a slash, which is written as %2F"),
    ("amqp://rabbit/%FF", "has a virtual host that is not UTF-8"),
    ("amqp://rabbit/..", "has a virtual host that is no name of a virtual host: at most 255 bytes"),
    (f"amqp://rabbit/{'x' * 256}", "has a virtual host that is no name of a virtual host"),
    ("amqp://rabbit/a%0A", "has a virtual host that has U+000A (line feed) at character 2"),
    ("amqp://rabbit\u200b", "has U+200B (zero width space) at character 14, which no URL may have"),
    ("amqp://rab bit", "has U+0020 (space) at character 11, which no URL may have"),
    ("amqp://rabbit\n", "has U+000A (line feed) at character 14, which no URL may have; was it"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "why"), WRONG_URLS)
def test_a_url_that_says_no_server_is_told(url: str, why: str) -> None:
    (fault,) = faults({"url": url})

    assert fault.startswith(f"ConfigMap: url: {why}")


def test_a_password_in_a_config_map_is_told_and_not_shown() -> None:
    (fault,) = faults({"url": "amqp://orders:sesame@rabbit"})

    assert fault == (
        "ConfigMap: url: has a password in it; it belongs in a Secret, named in "
        "'auth.secret.ref.name'"
    )


def test_an_unknown_key_is_told_with_the_one_that_was_meant() -> None:
    assert faults({**URL, "queuetype": "quorum"}) == [
        "ConfigMap: queuetype: unknown key (did you mean 'queueType'?)"
    ]


def test_queues_are_quorum_or_classic() -> None:
    assert faults({**URL, "queueType": "quorums"}) == [
        "ConfigMap: queueType: 'quorums' is neither 'quorum' nor 'classic' (did you mean 'quorum'?)"
    ]


@pytest.mark.parametrize("vhost", [".", "..", "x" * 256, "é" * 128])
def test_a_virtual_host_that_cannot_be_is_told(vhost: str) -> None:
    (fault,) = faults({**URL, "vhost": vhost})

    assert fault.startswith("ConfigMap: vhost: is no name of a virtual host: at most 255 bytes")


def test_a_hidden_character_in_a_virtual_host_is_told_with_its_place() -> None:
    (fault,) = faults({**URL, "vhost": "shop\u00a0"})

    assert fault == (
        "ConfigMap: vhost: has U+00A0 (no-break space) at character 5, which no virtual host may "
        "have"
    )


def test_a_virtual_host_that_is_written_as_in_a_url_is_told() -> None:
    assert faults({**URL, "vhost": "%2f"}) == [
        "ConfigMap: vhost: has '%2F' in it, which stands for a slash in a URL alone; write a slash"
    ]


def test_an_empty_virtual_host_is_as_good_as_none() -> None:
    assert read({"url": "amqp://rabbit/shop", "vhost": ""}).vhost == "shop"


# --- the URL of --channel --------------------------------------------------------------------


@pytest.mark.parametrize("url", ["amqp:", "amqps:", "amqp://", "amqp:///"])
def test_a_channel_without_a_server_says_nothing(url: str) -> None:
    assert from_url(url) == Defaults()


def test_the_channel_says_what_a_configuration_leaves_open() -> None:
    channel = "amqps://orders:ses%20ame@rabbit:5679/shop?queueType=classic"

    without = read({}, channel=channel)
    of_its_own = read({"vhost": "v", "queueType": "quorum"}, channel=channel)

    assert (without.server, without.tls, without.vhost) == ("rabbit:5679", True, "shop")
    assert (without.security.user, without.security.password) == ("orders", "ses ame")
    assert without.queue_type == "classic"
    assert (of_its_own.server, of_its_own.vhost) == ("rabbit:5679", "v")
    assert of_its_own.queue_type == "quorum"


def test_a_server_of_the_brokers_own_is_not_told_the_password_of_another() -> None:
    found = read({"url": "amqp://other"}, channel="amqps://orders:sesame@rabbit/shop")

    assert found == Settings(host="other", port=5672, tls=False, vhost="/")
    assert "sesame" not in found.client_options()["url"]


@pytest.mark.parametrize(
    ("url", "why"),
    [each for each in WRONG_URLS if "?" not in each[0] and each[0] != "amqp://"],
)
def test_a_channel_that_is_no_url_is_refused(url: str, why: str) -> None:
    assert refused(url).startswith(f"--channel: {why}")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("queuetype=classic", "queuetype: cannot stand in a URL (did you mean 'queueType'?)"),
        ("vhost=shop", "vhost: cannot stand in a URL"),
        ("queueType=quorums", "queueType: 'quorums' is neither 'quorum' nor 'classic'"),
        ("queueType", NOT_A_URL),
    ],
)
def test_a_channel_says_nothing_else(query: str, why: str) -> None:
    assert refused(f"amqp://rabbit?{query}").startswith(f"--channel: {why}")


@pytest.mark.parametrize(
    "password",
    [
        *("qzx?jqk", "qzx?jqk=1", "qzx?queueType=jqk", "qzx#jqk", "qzx/jqk", "qzx@jqk", "qzx:/jqk"),
        *("qzx%0Ajqk", "qzx%FFjqk", "qzx\u200bjqk", "qzx jqk"),
    ],
)
def test_a_password_that_is_not_percent_encoded_is_not_shown(password: str) -> None:
    told = refused(f"amqp://orders:{password}@rabbit/")

    assert "qz" not in told
    assert "jq" not in told


def test_a_broker_without_a_server_is_refused_when_it_is_opened_and_not_before() -> None:
    assert faults({"queueType": "classic"}) == []

    with pytest.raises(CemeshError) as caught:
        read({})

    assert str(caught.value) == (
        "broker shop/orders: no server is named: neither by 'url' in its ConfigMap, nor by 'host' "
        "in its Secret, nor by --channel amqp://HOST"
    )


def test_a_broker_that_was_not_checked_is_refused_in_the_same_words() -> None:
    config = {"url": "rabbit", "queueType": "x"}

    told = faults(config)
    with pytest.raises(CemeshError) as caught:
        read(config, channel="amqp://rabbit")

    assert len(told) == 2
    assert str(caught.value) == f"broker shop/orders: {'; '.join(told)}"


# --- how to connect --------------------------------------------------------------------------

_names = st.text(min_size=1, max_size=20).filter(
    lambda text: hidden(text) is None and text.isprintable()
)


@given(_names, _names, _names.filter(lambda name: vhost_fault(name) is None))
def test_aiormq_comes_as_that_user_to_that_virtual_host(
    user: str, password: str, vhost: str
) -> None:
    found = Settings(
        host="rabbit", port=5679, tls=True, vhost=vhost,
        security=Security(user=user, password=password),
    )  # fmt: skip

    with asyncio.Runner() as runner:
        connection = Connection(found.client_options()["url"], loop=runner.get_loop())

    assert (connection.url.host, connection.url.port) == ("rabbit", 5679)
    assert connection.url.scheme == "amqps"
    assert (connection.url.user, connection.url.password) == (user, password)
    assert connection.vhost == vhost


def test_without_tls_there_is_no_context() -> None:
    options = read(URL).client_options()

    assert options == {"url": "amqp://guest:guest@rabbit:5672/%2F", "ssl_context": None}


def test_no_repr_shows_a_password() -> None:
    found = from_url("amqp://orders:sesame@rabbit")

    assert found.address == Address(
        host="rabbit", port=5672, tls=False, user="orders", password="sesame"
    )
    assert "sesame" not in repr((found, settings(BROKER, {}, {}, defaults=found)))
