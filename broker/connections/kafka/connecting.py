"""Connections to Kafka: how they are made, and why they cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import BrokerResponseError, KafkaError, SaslAuthenticationFailed

from broker.connections import faults
from broker.connections.kafka.spec import Net
from broker.manifest.specs import revealed
from broker.tls import tls_context

ANSWERS_WITHIN: Final = timedelta(seconds=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where it is said who connects: for what operators are told."""

    authority: str
    certificate: str
    credentials: str


BY_NET: Final = Told(
    authority="'net.tls.caCert'",
    certificate="'net.tls.cert'",
    credentials="'user' and 'password' in 'net.sasl'",
)
BY_SECRET: Final = Told(
    authority="'ca.crt' in the Secret",
    certificate="'user.crt' in the Secret",
    credentials="'user' and 'password' in the Secret",
)


def client_options(net: Net) -> Mapping[str, Any]:
    """Return how clients of aiokafka connect. May block for 0.1 s, reading authorities."""
    sasl, tls = net.sasl, net.tls
    protocol = ("SASL_" if sasl.enable else "") + ("SSL" if tls.enable else "PLAINTEXT")
    options: dict[str, Any] = {"security_protocol": protocol}
    if tls.enable:
        options["ssl_context"] = tls_context(
            revealed(tls.ca_cert), revealed(tls.cert), revealed(tls.key)
        )
    if sasl.enable:
        options["sasl_mechanism"] = sasl.mechanism
        options["sasl_plain_username"] = revealed(sasl.user)
        options["sasl_plain_password"] = revealed(sasl.password)
    return options


async def why_unreachable(
    servers: Sequence[str], options: Mapping[str, Any], told: Told = BY_NET
) -> str | None:
    """Return why none of the servers lets us in, or None where one does."""
    causes = await asyncio.gather(*(_cause(each, options, told) for each in servers))
    if None in causes:
        return None
    return "; ".join(
        f"Kafka at {server} cannot be used: {cause}"
        for server, cause in zip(servers, causes, strict=True)
    )


async def _cause(server: str, options: Mapping[str, Any], told: Told) -> str | None:
    ((host, port, _),) = collect_hosts([server])
    milliseconds = ANSWERS_WITHIN // timedelta(milliseconds=1)
    try:
        async with asyncio.timeout(ANSWERS_WITHIN.total_seconds()):
            connection = await create_conn(host, port, request_timeout_ms=milliseconds, **options)
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        return said(error, told)
    await connection.close()
    return None


def said(error: BaseException, told: Told = BY_NET) -> str:
    """Return in words what aiokafka or the network told, and where to look, if that is known."""
    while error.__cause__ is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    match error:
        case asyncio.IncompleteReadError():
            return "it closed the connection; does it expect TLS, SASL or a certificate?"
        case SaslAuthenticationFailed():
            return f"{_words(error)}; are {told.credentials} those that it knows?"
        case BrokerResponseError():
            return _words(error)
    return faults.said(error, authority=told.authority, certificate=told.certificate)


def _words(error: Any) -> str:  # noqa: ANN401 - aiokafka has no types
    words = ", ".join(map(str, error.args)) or error.description
    return f"{error.message}: {words}"
