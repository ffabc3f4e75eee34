"""Connections to Kafka: how they are made, why they cannot be, and how they are closed."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    BrokerResponseError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from broker.tls import tls_context
from sources.kafka.spec import KafkaSpec, revealed

ANSWERS_WITHIN: Final = timedelta(seconds=4)

_STARTS_WITHIN: Final = 2.0
_STOPS_WITHIN: Final = 2.0


def client_options(spec: KafkaSpec) -> Mapping[str, Any]:
    """Return how clients of aiokafka connect. May block for 0.1 s, reading authorities."""
    sasl, tls = spec.net.sasl, spec.net.tls
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


async def why_unreachable(spec: KafkaSpec, options: Mapping[str, Any]) -> str | None:
    """Return why none of the servers lets us in, or None where one does."""
    causes = await asyncio.gather(*(_cause(each, options) for each in spec.bootstrap_servers))
    if None in causes:
        return None
    return "; ".join(
        f"Kafka at {server} cannot be used: {cause}"
        for server, cause in zip(spec.bootstrap_servers, causes, strict=True)
    )


async def _cause(server: str, options: Mapping[str, Any]) -> str | None:
    ((host, port, _),) = collect_hosts([server])
    milliseconds = ANSWERS_WITHIN // timedelta(milliseconds=1)
    try:
        async with asyncio.timeout(ANSWERS_WITHIN.total_seconds()):
            connection = await create_conn(host, port, request_timeout_ms=milliseconds, **options)
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        return said(error)
    await connection.close()
    return None


def said(error: BaseException) -> str:
    """Return in words what aiokafka or the network told, and where to look, if that is known."""
    while error.__cause__ is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"TLS: {error.verify_message}; is its authority in 'net.tls.caCert'?"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case asyncio.IncompleteReadError():
            return "it closed the connection; does it expect TLS, SASL or a certificate?"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case SaslAuthenticationFailed():
            return f"{error}; are 'user' and 'password' in 'net.sasl' those that it knows?"
        case GroupAuthorizationFailedError() | TopicAuthorizationFailedError():
            return f"{error}; it takes ACLs that allow Read on the topics and on the group"
        case BrokerResponseError():
            told = ", ".join(map(str, error.args)) or error.description
            return f"{error.message}: {told}"
    return str(error) or type(error).__name__


async def start(consumer: AIOKafkaConsumer) -> None:
    """Start the consumer. Whoever cancels this waits for it, for up to 2 s.

    Cancelled while it asks for the servers, aiokafka forgets the connection that it asks by.
    """
    await _ended(consumer.start(), grace=_STARTS_WITHIN)


async def commit(consumer: AIOKafkaConsumer, offsets: Mapping[Any, int]) -> None:
    """Commit. Whoever cancels this waits for it, for up to 2 s: what is emitted is not repeated."""
    await _ended(consumer.commit(offsets), grace=_STOPS_WITHIN)


async def _ended(work: Coroutine[Any, Any, None], *, grace: float) -> None:
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=grace)
        task.cancel()
        await asyncio.wait([task])
        raise
    task.result()


async def close(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close all connections, whatever the consumer and Kafka are doing.

    Of two of its own cancellations aiokafka loses sight: of that of its fetching, and then it
    waits for ever; and of that of a fetch that has just failed, and then it raises
    `CancelledError` though nobody has cancelled it, with its connections still open. And where
    Kafka hangs, it waits for an answer to its leaving, for as long as for any other.
    """
    stopping = asyncio.create_task(consumer.stop())
    try:
        while not (await asyncio.wait([stopping], timeout=_STOPS_WITHIN))[0]:
            if consumer._fetcher is not None:
                consumer._fetcher._fetch_task.cancel()
            await consumer._client.close()  # which fails whatever it is still asking
    except asyncio.CancelledError:
        stopping.cancel()
        await asyncio.wait([stopping])
        await consumer._client.close()
        raise
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()
