"""Connections to Redis: how they are made, and in words why they cannot be."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.connections import faults
from broker.connections.redis.spec import RedisSpec
from broker.manifest.specs import revealed
from broker.tls import tls_context

ANSWERS_WITHIN: Final = timedelta(seconds=4)

_Answer = TypeVar("_Answer")

_CONNECTIONS: Final = 8

_CLOSED: Final = "it closed the connection; does it expect TLS, or a certificate?"

_HINTS: Final[Mapping[str, str]] = {
    "NOAUTH": "it wants a password: 'password' is missing",
    "WRONGPASS": "are 'user' and 'password' those that it knows?",
    "NOPERM": "its ACL has to allow the command, and the stream as a key",
    "WRONGTYPE": "what has that name there is no stream",
    "OOM": "its memory is full, as far as 'maxmemory' lets it be",
    "READONLY": "it is a replica; the URL has to lead to the master",
    "LOADING": "it has just started, and still loads its data",
    "MISCONF": "it cannot write its data to disk",
    "NOREPLICAS": "it has fewer replicas than 'min-replicas-to-write' wants",
    "MOVED": "it is a cluster, which has that stream elsewhere",
    "CLUSTERDOWN": "it is a cluster that does not work just now",
    "MASTERDOWN": "it is a replica that has lost its master",
}


class _TlsConnection(SSLConnection):
    """A connection by a context of ours, which takes authorities and keys that are in no file."""

    def __init__(self, *, context: ssl.SSLContext, **options: Any) -> None:  # noqa: ANN401 - Redis's
        super().__init__(**options)
        self.ssl_context.context = context


@asynccontextmanager
async def connected(spec: RedisSpec) -> AsyncIterator[Redis]:
    """Yield a client that answers with what Redis does, and closes all connections at the end.

    It connects when it is asked something, anew where it has to. It waits for ever for an answer:
    `in_time` does not. Reading the system's authorities is done in a thread.
    """
    host, port = spec.address
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": spec.database,
        "username": revealed(spec.user),
        "password": revealed(spec.password),
        # What has not been answered may have been done: whether to ask again is the caller's.
        "retry": Retry(NoBackoff(), 0),
        # Else it sends within `asyncio.wait_for`, which on Python 3.11 may lose a cancellation.
        "socket_timeout": None,
        "socket_connect_timeout": ANSWERS_WITHIN.total_seconds(),
        "protocol": 2,
        "connection_class": Connection,
    }
    if spec.encrypted:
        options["context"] = await asyncio.to_thread(_context, spec)
        options["connection_class"] = _TlsConnection
    client = Redis.from_pool(ConnectionPool(max_connections=_CONNECTIONS, **options))
    # Made into mappings, an entry would lose all but one of the fields of a name.
    client.response_callbacks.clear()
    try:
        yield client
    finally:
        with suppress(RedisError):  # it waits no longer for a peer that does not close, too
            await client.aclose()


def _context(spec: RedisSpec) -> ssl.SSLContext:
    if spec.tls is None:
        return tls_context(None, None, None)
    return tls_context(*map(revealed, (spec.tls.ca_cert, spec.tls.cert, spec.tls.key)))


async def in_time(answer: Awaitable[_Answer]) -> _Answer:
    """Return the answer of a client; raises redis-py's error where none comes in time."""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN.total_seconds()):
            return await answer
    except TimeoutError:
        raise RedisTimeoutError("no answer in time") from None


def code_of(error: BaseException) -> str:
    """Return by which code Redis has refused, NOGROUP say; nothing where it has not answered."""
    if not isinstance(error, RedisError):
        return ""
    # redis-py takes those that it knows out of the text.
    return error.status_code or str(error).partition(" ")[0]


def said(error: BaseException, spec: RedisSpec) -> str:
    """Return in words what Redis or the network told, at which address, and where to look."""
    host, port = spec.address
    return f"Redis at {host}:{port} cannot be used: {_cause(error)}"


def _cause(error: BaseException) -> str:
    while not isinstance(error, TimeoutError | RedisTimeoutError | ssl.SSLError):
        # Of a connection that cannot be made, redis-py names the cause only as the context.
        below = error.__cause__ or error.__context__
        if not isinstance(error, RedisError) or not isinstance(below, OSError | RedisError):
            break
        error = below
    match error:
        case RedisTimeoutError():
            return "no answer in time"
        case ConnectionResetError():
            return _CLOSED
    text = faults.said(error)
    if text.startswith("Connection closed"):
        return _CLOSED
    hint = _HINTS.get(code_of(error))
    return text if hint is None else f"{text.removesuffix('.')}; {hint}"
