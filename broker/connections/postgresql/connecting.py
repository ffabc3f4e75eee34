"""Connections to PostgreSQL: how they are made, why they cannot be, and how they are closed."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import Final, TypeAlias

import asyncpg

from broker.connections import faults
from broker.connections.postgresql.spec import Server
from broker.manifest.specs import revealed
from broker.tls import tls_context

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # and so TimeoutError
)
"""What asking a server raises. All of it can be said in words, by `said`."""

_CONNECTS_WITHIN: Final = timedelta(seconds=4)
_ANSWERS_WITHIN: Final = timedelta(seconds=15)
_CLOSES_WITHIN: Final = timedelta(seconds=2)
_LONGEST_NAME: Final = 63

_HINTS: Final = {
    "28P01": "are 'user' and 'password' those that it knows?",
    "28000": "does its pg_hba.conf let this user in from here, by these means?",
    "3D000": "is the database in 'url' the right one?",
    "53300": "it has no connection left; see its max_connections",
    "42501": "see GRANT",
}
"""Where to look, by SQLSTATE."""


async def connect(server: Server, name: str) -> Connection:
    """Return a connection, which the server lists by this name. Raises one of `FAILURES`."""
    tls = server.tls
    context: ssl.SSLContext | bool = False
    if tls.enable:
        texts = revealed(tls.ca_cert), revealed(tls.cert), revealed(tls.key)
        context = await asyncio.to_thread(tls_context, *texts)
    return await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=revealed(server.user),
        # Without one, asyncpg would look for it in the environment and at home.
        password=revealed(server.password) or "",
        database=server.database,
        ssl=context,
        timeout=_CONNECTS_WITHIN.total_seconds(),
        command_timeout=_ANSWERS_WITHIN.total_seconds(),
        server_settings={"application_name": name[:_LONGEST_NAME]},
    )


async def close(connection: Connection) -> None:
    """Say good-bye and close, or close after 2 s whatever the server does."""
    try:
        await connection.close(timeout=_CLOSES_WITHIN.total_seconds())
    except FAILURES:
        connection.terminate()


def said(server: Server, error: BaseException) -> str:
    """Return in words why the server cannot be used, and where to look, if that is known."""
    return f"{server.address}: {_cause(error)}"


def _cause(error: BaseException) -> str:
    match error:
        case asyncpg.PostgresError(sqlstate=str(state)):
            # Without its details, which may show the row, payload and all.
            told = error.args[0] if error.args else type(error).__name__
            hint = _HINTS.get(state)
            return f"{told} ({state})" if hint is None else f"{told}; {hint} ({state})"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return "it speaks no TLS, which 'tls.enable' asks for"
    return faults.said(error)
