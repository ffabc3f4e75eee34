"""Where events are sent, and go wrong: servers that last as long as a context.

    async with scripted(hang()) as place:
        await client.request("POST", place.url, …)

What they say over HTTP is a script of `tests.services.subscribers`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
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


@dataclass(frozen=True, slots=True)
class Scripted:
    """An opening of a place that answers these in turn, and with the last one from then on."""

    answers: Sequence[Answer]
    host: str

    def after(self, answer: Answer) -> Scripted:
        """Answer that first."""
        return Scripted([answer, *self.answers], self.host)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Place]:
        async with Subscriber(host=self.host) as subscriber:
            yield Place(url=subscriber.answers("/", self.answers))


def scripted(answer: Answer, *, host: str = "127.0.0.1") -> Scripted:
    """Answer every request with that."""
    return Scripted([answer], host)


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
