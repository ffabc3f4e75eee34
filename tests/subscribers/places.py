"""Where events are sent, and go wrong: servers that last as long as a context.

    async with scripted(hang()) as place:
        await client.request("POST", place.url, …)

What they say over HTTP is a script of `tests.services.subscribers`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import trustme

from tests.services.subscribers import Answer, Subscriber
from tests.subscribers.sockets import black_hole, complaining, half_open, resetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a subscriber is, and whose certificates are trusted there."""

    url: str
    ca_certs: str | None = None


Opening = Callable[[], AbstractAsyncContextManager[Place]]


def scripted(answer: Answer, *, host: str = "127.0.0.1") -> Opening:
    """Answer every request with that."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Place]:
        async with Subscriber(host=host) as subscriber:
            yield Place(url=subscriber.answers("/", [answer]))

    return opened


@asynccontextmanager
async def abandoned() -> AsyncIterator[Place]:
    """Nobody listens there any more."""
    async with Subscriber() as gone:
        url = gone.url()
    yield Place(url=url)


@asynccontextmanager
async def never_reading() -> AsyncIterator[Place]:
    async with half_open() as url:
        yield Place(url=url)


@asynccontextmanager
async def never_connecting() -> AsyncIterator[Place]:
    async with black_hole() as url:
        yield Place(url=url)


@asynccontextmanager
async def resetting_at_once() -> AsyncIterator[Place]:
    async with resetting() as url:
        yield Place(url=url)


@asynccontextmanager
async def silent_in_the_handshake() -> AsyncIterator[Place]:
    async with half_open() as url:
        yield Place(url=url.replace("http:", "https:"))


@asynccontextmanager
async def plain_behind_https() -> AsyncIterator[Place]:
    """Speak HTTP where TLS is expected."""
    async with complaining() as url:
        yield Place(url=url.replace("http:", "https:"))


def with_certificate(*names: str, trusted: bool = True, expired: bool = False) -> Opening:
    """Speak TLS with a certificate for these names, valid and trusted unless it is not."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Place]:
        authority = trustme.CA()
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = authority.issue_cert(
            *names, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=until
        )
        issued.configure_cert(context)
        async with Subscriber(tls=context) as subscriber:
            yield Place(
                url=subscriber.url(),
                ca_certs=authority.cert_pem.bytes().decode("ascii") if trusted else None,
            )

    return opened


@asynccontextmanager
async def self_signed() -> AsyncIterator[Place]:
    """Speak TLS with a certificate that vouches for itself."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = authority.private_key_pem.bytes() + authority.cert_pem.bytes()
    with trustme.Blob(pem).tempfile() as path:
        context.load_cert_chain(path)
    async with Subscriber(tls=context) as subscriber:
        yield Place(url=subscriber.url())
