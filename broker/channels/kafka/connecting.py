"""Connections to Kafka: open, and why there are none.

aiokafka logs why it could not connect, but does not say it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError

from broker.channels.kafka.lanes import BATCH_BYTES
from broker.channels.kafka.settings import ClientOptions
from broker.connections import kafka
from broker.errors import ChannelUnavailable

ANSWER_WITHIN: Final = timedelta(seconds=4)
"""What a request may take. A 503 is due after 5 s."""

_STARTS_WITHIN: Final = 2.0


def at(options: ClientOptions) -> str:
    """Return how errors call the cluster."""
    return f"Kafka at {', '.join(options['bootstrap_servers'])}"


def who(options: ClientOptions) -> str:
    """Return how errors call the client that is to be let in."""
    return options["sasl_plain_username"] or "this client"


def said(error: BaseException) -> str:
    """Return in words what aiokafka or the network told, and where to look, if that is known."""
    return kafka.said(error, kafka.BY_SECRET)


async def check_reachable(options: ClientOptions, *, within: timedelta = ANSWER_WITHIN) -> None:
    """Return if any of the servers lets us in; raise `ChannelUnavailable` with why none does."""
    servers = options["bootstrap_servers"]
    causes = await asyncio.gather(*(_cause(server, options, within) for server in servers))
    if None not in causes:
        raise ChannelUnavailable(
            "; ".join(
                f"Kafka at {server} cannot be used: {cause}"
                for server, cause in zip(servers, causes, strict=True)
            )
        )


async def start(client: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Start a producer, a consumer or an admin client of aiokafka.

    Whoever cancels this waits up to 2 s for it to have started: where aiokafka is cancelled as it
    asks for the cluster's servers, it forgets the connection that it asks by.
    """
    await _ended(client.start())


async def _ended(starting: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(starting)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_STARTS_WITHIN)
        task.cancel()
        await asyncio.wait([task])
        raise


async def open_client(options: ClientOptions, *, answers_within: timedelta) -> AIOKafkaClient:
    """Return a client that knows the servers. Raises `ChannelUnavailable` or `KafkaError`."""
    await check_reachable(options)  # which says why not
    timeout = answers_within // timedelta(milliseconds=1)
    client = AIOKafkaClient(**options, request_timeout_ms=timeout)
    try:
        await _ended(client.bootstrap())
    except BaseException:
        await client.close()
        raise
    return client


async def open_producer(options: ClientOptions, topics: Iterable[str]) -> Any:  # noqa: ANN401 - aiokafka has no types
    """Return a producer that has started and knows the topics. Raises `ChannelUnavailable`."""
    await check_reachable(options)
    producer = AIOKafkaProducer(
        **options,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=round(ANSWER_WITHIN / timedelta(milliseconds=1)),
    )
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            await start(producer)
            await producer.client.set_topics(list(topics))
    except ClusterAuthorizationFailedError as error:
        await kafka.close_producer(producer, grace=timedelta(0))
        raise ChannelUnavailable(
            f"{at(options)} does not let {who(options)} produce: it takes an ACL that allows "
            "Write on the topic, or IdempotentWrite on a cluster before 2.8"
        ) from error
    except (KafkaError, OSError, TimeoutError) as error:
        await kafka.close_producer(producer, grace=timedelta(0))
        raise ChannelUnavailable(f"{at(options)} takes no producer: {said(error)}") from error
    except BaseException:
        await kafka.close_producer(producer, grace=timedelta(0))
        raise
    return producer


async def _cause(server: str, options: ClientOptions, within: timedelta) -> str | None:
    """Return why the server does not let us in, or None."""
    ((host, port, _),) = collect_hosts([server])
    rest = {key: value for key, value in options.items() if key != "bootstrap_servers"}
    seconds = within.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            connection = await create_conn(
                host, port, request_timeout_ms=round(seconds * 1000), **rest
            )
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        return said(error)
    await connection.close()
    return None
