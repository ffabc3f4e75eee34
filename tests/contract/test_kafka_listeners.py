"""The Kafka channel by each of the ways into a Kafka, and what keeps a client out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from broker.errors import ChannelUnavailable
from tests.contract.kafka import TOLD_WITHIN, TOPIC, new_broker, opened
from tests.contract.test_channel import events, reading
from tests.services.kafka.settings import PASSWORD, USER, Listeners

Way = Callable[[Listeners], tuple[str, Mapping[str, str]]]
"""An address, and the Secret that lets one in there."""


def plaintext(listeners: Listeners) -> tuple[str, Mapping[str, str]]:
    return listeners.plaintext, {"protocol": "PLAINTEXT"}


def tls(listeners: Listeners) -> tuple[str, Mapping[str, str]]:
    authority = Path(listeners.authority).read_text()
    return listeners.ssl, {"protocol": "SSL", "ca.crt": authority, "user.skip": "true"}


def mutual_tls(listeners: Listeners) -> tuple[str, Mapping[str, str]]:
    authority = Path(listeners.authority).read_text()
    key, begin, certificate = Path(listeners.client).read_text().partition("-----BEGIN CERT")
    user = {"user.key": key, "user.crt": begin + certificate}
    return listeners.mtls, {"protocol": "SSL", "ca.crt": authority, **user}


def sasl(mechanism: str, *, encrypted: bool = False, password: str = PASSWORD) -> Way:
    def way(listeners: Listeners) -> tuple[str, Mapping[str, str]]:
        user = {"sasl.mechanism": mechanism, "user": USER, "password": password}
        if not encrypted:
            return listeners.sasl_plaintext, {"protocol": "SASL_PLAINTEXT", **user}
        authority = Path(listeners.authority).read_text()
        return listeners.sasl_ssl, {"protocol": "SASL_SSL", "ca.crt": authority, **user}

    return way


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(plaintext, id="PLAINTEXT"),
        pytest.param(tls, id="SSL"),
        pytest.param(mutual_tls, id="mutual TLS"),
        pytest.param(sasl("PLAIN"), id="SASL_PLAINTEXT PLAIN"),
        pytest.param(sasl("SCRAM-SHA-256"), id="SASL_PLAINTEXT SCRAM-SHA-256"),
        pytest.param(sasl("SCRAM-SHA-512"), id="SASL_PLAINTEXT SCRAM-SHA-512"),
        pytest.param(sasl("PLAIN", encrypted=True), id="SASL_SSL PLAIN"),
        pytest.param(sasl("SCRAM-SHA-512", encrypted=True), id="SASL_SSL SCRAM-SHA-512"),
    ],
)
async def test_a_listener_of_each_kind_takes_events_and_keeps_places(
    kafka_listeners: Listeners, way: Way
) -> None:
    address, secret = way(kafka_listeners)
    broker = new_broker()
    async with opened(address, broker, TOPIC, secret) as channel, reading(channel) as reader:
        await channel.append(events(2))
        claims = {claim.event.id: claim for claim in await reader.take(2)}
        await reader.settle(claims["0"])

    async with opened(address, broker, TOPIC, secret) as channel, reading(channel) as reader:
        assert (await reader.claim()).event.id == "1"
        assert await reader.nothing()


def of_a_stranger(listeners: Listeners) -> tuple[str, Mapping[str, str]]:
    address, secret = mutual_tls(listeners)
    return address, {"protocol": "SSL", "ca.crt": secret["ca.crt"], "user.skip": "true"}


def of_another_authority(listeners: Listeners) -> tuple[str, Mapping[str, str]]:
    return listeners.ssl, {"protocol": "SSL", "user.skip": "true"}


@pytest.mark.parametrize(
    ("way", "told"),
    [
        pytest.param(sasl("PLAIN", password="guessed"), "'password'", id="PLAIN"),
        pytest.param(sasl("SCRAM-SHA-256", password="guessed"), "'password'", id="SCRAM-SHA-256"),
        pytest.param(
            sasl("SCRAM-SHA-512", encrypted=True, password="guessed"), "'password'", id="SASL_SSL"
        ),
        pytest.param(of_another_authority, r"'ca\.crt'", id="a wrong authority"),
        pytest.param(of_a_stranger, r"'user\.crt'", id="no certificate"),
    ],
)
async def test_whoever_is_not_let_in_is_told_what_to_look_at(
    kafka_listeners: Listeners, way: Way, told: str
) -> None:
    address, secret = way(kafka_listeners)

    with pytest.raises(ChannelUnavailable, match=f"Kafka at {address} cannot be used: .*{told}"):
        async with asyncio.timeout(TOLD_WITHIN), opened(address, new_broker(), TOPIC, secret):
            pass
