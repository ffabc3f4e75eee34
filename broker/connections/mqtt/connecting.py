"""Connections to an MQTT server, as long as they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from broker.connections.mqtt.client import Connection
from broker.connections.mqtt.spec import MqttAccess
from broker.manifest.specs import revealed
from broker.tls import tls_context


@asynccontextmanager
async def connected(
    access: MqttAccess,
    *,
    identifier: str,
    kept_for: timedelta = timedelta(0),
    at_most: int | None = None,
) -> AsyncIterator[Connection]:
    """Connect while the context lasts. Raises what `said` says.

    ``identifier`` is the client's; its session outlives the connection by ``kept_for``. The server
    sends no more messages than ``at_most`` before the first of them is acknowledged.
    """
    tls = None
    if access.has_tls:
        pems = (revealed(each) for each in (access.tls.ca_cert, access.tls.cert, access.tls.key))
        tls = await asyncio.to_thread(tls_context, *pems)
    connection = Connection(
        access, tls=tls, identifier=identifier, kept_for=kept_for, at_most=at_most
    )
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()
