"""What a broker's Secret says to the RabbitMQ channel, and what is wrong with it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import pytest
import trustme

from broker.channels.rabbitmq.settings import Defaults, Settings, check, from_url, settings
from broker.connections.rabbitmq.address import NOT_A_URL
from broker.errors import CemeshError

CONFIG: Final = {"auth.secret.ref.name": "rabbit"}
AT_A_URL: Final = {**CONFIG, "url": "amqps://other.example.com"}
USER: Final = {"username": "orders", "password": "ses ame"}
# What RabbitMQ's cluster operator makes, of which the last lines are the same once more.
OF_THE_OPERATOR: Final = {
    **USER,
    "host": "rabbit.infra.svc",
    "port": "5672",
    "provider": "rabbitmq",
    "type": "rabbitmq",
    "mqtt-port": "1883",
    "default_user.conf": "default_user = orders\ndefault_pass = ses ame\n",
    "connection_string": "amqp://orders:ses ame@rabbit.infra.svc:5672/",
}

AUTHORITY: Final = trustme.CA()
CLIENT: Final = AUTHORITY.issue_cert("client.example.com")


def pem(certificate: trustme.LeafCert) -> str:
    return "".join(each.bytes().decode() for each in certificate.cert_chain_pems)


def key(certificate: trustme.LeafCert) -> str:
    return certificate.private_key_pem.bytes().decode()


CA: Final = {"ca.crt": AUTHORITY.cert_pem.bytes().decode()}
PAIR: Final = {"tls.crt": pem(CLIENT), "tls.key": key(CLIENT)}


def read(
    secret: Mapping[str, str],
    config: Mapping[str, str] = CONFIG,
    *,
    channel: str = "amqp://fallback",
) -> Settings:
    return settings("shop/orders", config, secret, defaults=from_url(channel))


def faults(secret: Mapping[str, str], config: Mapping[str, str] = CONFIG) -> list[str]:
    found = check(config, secret)
    return [f"{each.severity}: {each.key}: {each.message}" for each in found]


def login(found: Settings) -> tuple[str | None, str | None]:
    parts = urlsplit(found.client_options()["url"])
    return parts.username, parts.password


# --- the server ------------------------------------------------------------------------------


def test_the_secret_of_the_cluster_operator_says_server_and_user() -> None:
    found = read(OF_THE_OPERATOR)

    assert faults(OF_THE_OPERATOR) == []
    assert (found.server, found.tls, found.vhost) == ("rabbit.infra.svc:5672", False, "/")
    assert login(found) == ("orders", "ses%20ame")


@pytest.mark.parametrize(
    ("keys", "server", "tls"),
    [
        ({"host": "rabbit"}, "rabbit:5672", False),
        ({"host": "[::1]", "port": "1"}, "[::1]:1", False),
        ({"host": "rabbit", "port": "5671"}, "rabbit:5671", True),
        ({"host": "rabbit", "ssl": "true"}, "rabbit:5671", True),
        ({"host": "rabbit", "port": "5671", "ssl": "False"}, "rabbit:5671", False),
        ({"host": "rabbit", "port": "7", "ssl": "1"}, "rabbit:7", True),
        # Knative's `uri` is that of the management API.
        ({"uri": "rabbit"}, "rabbit:5672", False),
        ({"uri": "rabbit:15672", "port": "5679"}, "rabbit:5679", False),
        ({"uri": "http://rabbit:15672/"}, "rabbit:5672", False),
        ({"uri": "https://rabbit", "ssl": "true"}, "rabbit:5671", True),
        ({"uri": "amqps://rabbit:7"}, "rabbit:7", True),
        ({"connection_string": "amqps://rabbit/"}, "rabbit:5671", True),
        ({"connection_string": "amqp://rabbit", "uri": "http://other"}, "rabbit:5672", False),
        ({"host": "rabbit", "connection_string": "amqps://other"}, "rabbit:5672", False),
    ],
)
def test_a_secret_can_say_where_the_server_is(keys: dict[str, str], server: str, tls: bool) -> None:
    found = read({**USER, **keys})

    assert (found.server, found.tls) == (server, tls)
    assert login(found) == ("orders", "ses%20ame")


def test_a_connection_string_says_user_and_virtual_host_too() -> None:
    found = read({"connection_string": "amqp://orders:sesame@rabbit/shop"})
    other = read({**USER, "connection_string": "amqp://orders:sesame@rabbit/shop"})

    assert (found.vhost, other.vhost) == ("shop", "shop")
    assert login(found) == ("orders", "sesame")
    assert login(other) == ("orders", "ses%20ame")


def test_a_secret_with_a_user_alone_is_for_the_server_of_the_channel() -> None:
    found = read(USER, channel="amqps://nobody:nothing@fallback/shop")

    assert (found.server, found.tls, found.vhost) == ("fallback:5671", True, "shop")
    assert login(found) == ("orders", "ses%20ame")


def test_where_the_config_map_says_the_server_the_secret_is_not_asked_for_it() -> None:
    secret = {**OF_THE_OPERATOR, "host": "not a host", "port": "x", "ssl": "x"}

    found = read(secret, AT_A_URL)

    assert faults(secret, AT_A_URL) == []
    assert (found.server, found.tls) == ("other.example.com:5671", True)
    assert login(found) == ("orders", "ses%20ame")


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"host": "rab bit"}, "host: is no name of a host"),
        ({"host": "rabbit:5672"}, "host: is no name of a host"),
        ({"host": ""}, "host: is empty"),
        ({"host": "rabbit", "port": "0"}, "port: is no number from 1 to 65535"),
        ({"host": "rabbit", "port": "65536"}, "port: is no number from 1 to 65535"),
        ({"host": "rabbit", "port": "amqp"}, "port: is no number from 1 to 65535"),
        ({"host": "rabbit", "ssl": "yes"}, 'ssl: is neither "true" nor "false"'),
        (
            {"uri": "rabbit/api"},
            f"uri: {NOT_A_URL}, nor http://HOST:PORT",
        ),
        ({"uri": "amqp://rabbit:0"}, "uri: has a port that is no number from 1 to 65535"),
        (
            {"connection_string": "rabbit"},
            f"connection_string: {NOT_A_URL}",
        ),
    ],
)
def test_a_server_that_cannot_be_is_told_with_its_key(keys: dict[str, str], fault: str) -> None:
    assert faults({**USER, **keys}) == [f"error: {fault}"]


# --- user and password -----------------------------------------------------------------------


def test_a_user_needs_a_password_and_the_other_way_round() -> None:
    assert faults({"username": "orders"}) == [
        "error: password: is missing; 'username' is of no use without it"
    ]
    assert faults({"password": "sesame", "host": "rabbit"}) == [
        "error: username: is missing; 'password' is of no use without it"
    ]


@pytest.mark.parametrize("secret", [{}, {"host": "rabbit"}, {"user": "orders", **CA}])
def test_a_secret_that_lets_nobody_in_is_told(secret: dict[str, str]) -> None:
    assert faults(secret) == ["error: username: is missing, and so is a certificate in 'tls.crt'"]
    with pytest.raises(CemeshError, match=r"^broker shop/orders: Secret: username: is missing"):
        read(secret)


@pytest.mark.parametrize("at", ["username", "password", "host", "port", "ssl"])
@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\n", "U+000A (line feed)"),
        ("\u00a0", "U+00A0 (no-break space)"),
        ("\u200b", "U+200B (zero width space)"),
        ("\ufeff", "U+FEFF (byte order mark)"),
    ],
)
def test_a_hidden_character_is_told_with_its_name_and_place(
    at: str, character: str, name: str
) -> None:
    secret = {**OF_THE_OPERATOR, "ssl": "true"}
    text = secret[at]

    (fault,) = faults({**secret, at: f"{text}{character}"})

    what = {"username": "user name", "host": "host name", "ssl": "flag"}.get(at, at)
    hint = "; was it made with 'echo' where 'echo -n' was meant?" if character == "\n" else ""
    assert fault == (
        f"error: {at}: has {name} at character {len(text) + 1}, which no {what} may have{hint}"
    )


@pytest.mark.parametrize("at", ["uri", "connection_string"])
def test_a_hidden_character_in_a_url_is_told_with_its_place(at: str) -> None:
    (fault,) = faults({**USER, at: "amqp://rabbit/\u200b"})

    assert fault == (
        f"error: {at}: has U+200B (zero width space) at character 15, which no URL may have"
    )


def test_what_is_empty_or_not_text_is_told() -> None:
    assert faults({"username": "", "password": "sesame\udcff"}) == [
        "error: username: is empty", "error: password: is not UTF-8 text",
    ]  # fmt: skip


def test_letters_of_any_language_and_blanks_can_be_in_a_password() -> None:
    found = read({"username": "Zoë", "password": " öffne Dich, 芝麻 /?#@:% "})

    assert login(found)[0] == "Zo%C3%AB"
    assert found.security.password == " öffne Dich, 芝麻 /?#@:% "


def test_no_fault_and_no_repr_shows_a_value() -> None:
    secret = {
        "username": "hunter2\n", "password": "hunter2\u200b", "host": "hunter2/", "port": "hunter2",
        "ssl": "hunter2", "ca.crt": "hunter2", "tls.crt": pem(CLIENT), "tls.key": "hunter2",
    }  # fmt: skip
    urls = [
        {**USER, at: f"{start}orders:hunter2@x/%FF"}
        for at in ("uri", "connection_string")
        for start in ("", "amqp://", "http://")
    ]

    told = [*faults(secret), *faults({**secret, "host": "x"})]
    told += [fault for each in urls for fault in faults(each)]

    assert len(told) == 5 + 6 + len(urls)
    assert "hunter2" not in "".join(told)
    assert "hunter2" not in repr(read({"username": "orders", "password": "hunter2"}))


# --- certificates ----------------------------------------------------------------------------


def handshake(client: ssl.SSLContext) -> str | None:
    """Shake hands with a server that asks for a certificate; return whom it takes us for."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("rabbit.example.com").configure_cert(server)
    AUTHORITY.configure_trust(server)
    server.verify_mode = ssl.CERT_OPTIONAL
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="rabbit.example.com")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = theirs.getpeercert()
    return str(shown["subjectAltName"][0][1]) if shown else None


def context(found: Settings) -> ssl.SSLContext:
    context = found.client_options()["ssl_context"]
    assert context is not None
    return context


def test_the_authority_of_the_secret_is_trusted_and_the_certificate_shown() -> None:
    assert handshake(context(read({**USER, **CA, **PAIR}, AT_A_URL))) == "client.example.com"
    assert handshake(context(read({**USER, **CA}, AT_A_URL))) is None


def test_no_other_authority_is_trusted() -> None:
    other = {"ca.crt": trustme.CA().cert_pem.bytes().decode()}

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context(read({**USER, **other}, AT_A_URL)))


def test_with_a_certificate_and_no_user_it_is_the_certificate_that_lets_in() -> None:
    by_certificate = read({**CA, **PAIR}, AT_A_URL).client_options()["url"]
    by_user = read({**USER, **CA, **PAIR}, AT_A_URL).client_options()["url"]

    assert by_certificate.endswith("?auth=external")
    assert "auth" not in by_user


def test_a_certificate_goes_before_the_user_of_the_channel() -> None:
    found = read({**CA, **PAIR}, channel="amqps://nobody:nothing@fallback")

    assert login(found) == ("guest", "guest")
    assert found.client_options()["url"].endswith("?auth=external")


def test_no_certificate_is_of_use_without_its_key() -> None:
    assert faults({**USER, "tls.crt": PAIR["tls.crt"]}) == [
        "error: tls.key: is missing; 'tls.crt' is of no use without it"
    ]
    assert faults({**USER, "tls.key": PAIR["tls.key"]}) == [
        "error: tls.crt: is missing; 'tls.key' is of no use without it"
    ]


def test_a_key_that_belongs_to_another_certificate_is_told_with_its_key() -> None:
    other = key(AUTHORITY.issue_cert("other.example.com"))

    assert faults({**CA, **PAIR, "tls.key": other}) == [
        "error: tls.key: does not belong to the certificate in 'tls.crt'"
    ]


def test_certificates_that_are_none_or_have_expired_are_told() -> None:
    expired = AUTHORITY.issue_cert(
        "a", not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 1, tzinfo=UTC)
    )

    assert faults({**USER, "ca.crt": "x"}) == ["error: ca.crt: holds no certificates in PEM format"]
    assert faults({**USER, "ca.crt": pem(expired)}) == ["warning: ca.crt: expired on 2020-01-01"]


@pytest.mark.parametrize("keys", [CA, PAIR, {**CA, **PAIR}])
def test_certificates_are_doubtful_where_there_is_no_tls(keys: dict[str, str]) -> None:
    secret = {**OF_THE_OPERATOR, **dict.fromkeys(keys, "x")}

    assert faults(secret) == [
        f"warning: {next(iter(keys))}: is of no use: the connection is without TLS"
    ]
    assert read(secret).client_options()["ssl_context"] is None


def test_whether_there_is_tls_only_the_channel_may_say() -> None:
    assert faults({**USER, "ca.crt": "x"}) != []
    assert context(read({**USER, **CA}, channel="amqps://fallback")) is not None
    with pytest.raises(CemeshError, match="no server is named"):
        settings("shop/orders", CONFIG, USER, defaults=Defaults())
