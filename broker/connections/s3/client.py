"""What S3 is asked, over connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from aiohttp import (
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    Payload,
    TCPConnector,
)
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from broker.connections.s3.answers import Listed, Page, error_of, page_of
from broker.connections.s3.signing import Keys, path_of, query_of, signed
from broker.connections.s3.spec import S3Access
from broker.manifest.specs import revealed
from broker.tls import tls_context

ANSWERS_WITHIN: Final = 8.0
"""Seconds until a connection is there, and that an answer may pause. Large ones take longer."""

_CONNECTIONS: Final = 32
_LONGEST_ANSWER: Final = 16 << 20
_PIECE: Final = 256 << 10
_NOT_SENT: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Body:
    """What an object has, as it was when it was listed. Header names are in lower case."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._response.content.iter_chunked(_PIECE):
            yield piece

    async def whole(self) -> bytes:
        """Return all of it: whoever asks knows its size."""
        return await self._response.read()


class _Content(Payload):
    """A body that is sent in pieces, and again from its beginning where a connection was closed.

    Of what is large, aiohttp would have a stream, which has no beginning any more.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for at in range(0, len(self._value), _PIECE):
            await writer.write(self._value[at : at + _PIECE])


class Bucket:
    """A bucket. Each method raises `S3Error` and `FAULTS`."""

    def __init__(self, session: ClientSession, access: S3Access) -> None:
        self._session = session
        self._url = access.url
        self._name = access.bucket
        self._keys = _keys(access)

    async def list(self, prefix: str, *, after: str | None, token: str | None) -> Page:
        """Return the next 1,000 objects whose keys begin so, at most, after that key or page."""
        # Encoded, as XML has no way to say every key.
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        if token is not None:
            query["continuation-token"] = token
        elif after is not None:
            query["start-after"] = after
        async with self._ask("GET", query=query) as response:
            return page_of(await _bounded(response), response.headers.get("Date"))

    @asynccontextmanager
    async def open(self, listed: Listed) -> AsyncIterator[Body]:
        """Yield what an object has, or raise an `S3Error` where it is not the same any more."""
        async with self._ask("GET", listed.key, headers={"if-match": listed.etag}) as response:
            yield Body(response)

    async def put(self, key: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Return once the object is stored."""
        async with self._ask("PUT", key, headers=headers, body=body):
            pass

    async def copy(self, listed: Listed, key: str) -> None:
        """Return once the object is there under that key as well."""
        headers = {
            "x-amz-copy-source": path_of(f"/{self._name}/{listed.key}"),
            "x-amz-copy-source-if-match": listed.etag,
        }
        async with self._ask("PUT", key, headers=headers) as response:
            # S3 begins to answer before it has copied, and may yet fail.
            body = await _bounded(response)
            if b"<Error>" in body:
                raise error_of(response.status, body)

    async def delete(self, listed: Listed) -> None:
        """Delete the object if it is the same still. Servers that know no such condition do."""
        async with self._ask("DELETE", listed.key, headers={"if-match": listed.etag}):
            pass

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        key: str | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncIterator[ClientResponse]:
        url = self._url if key is None else f"{self._url}/{path_of(key)}"
        if query is not None:
            url = f"{url}?{query_of(query)}"
        proven = signed(method, url, headers or {}, body, keys=self._keys, now=datetime.now(UTC))
        async with self._session.request(
            method,
            URL(url, encoded=True),  # as it is signed
            headers=proven,
            data=_Content(body) if method == "PUT" else None,
            allow_redirects=False,
        ) as response:
            if not response.ok or response.status >= 300:
                raise error_of(response.status, await _bounded(response))
            yield response


@asynccontextmanager
async def connected(access: S3Access) -> AsyncIterator[Bucket]:
    """Yield the bucket, and close all connections at the end. It connects when it is asked."""
    context = None
    if access.url.startswith("https:"):
        authorities = None if access.tls is None else revealed(access.tls.ca_cert)
        context = await asyncio.to_thread(tls_context, authorities, None, None)
    async with ClientSession(
        connector=TCPConnector(limit=_CONNECTIONS, ssl=True if context is None else context),
        timeout=ClientTimeout(total=None, sock_connect=ANSWERS_WITHIN, sock_read=ANSWERS_WITHIN),
        auto_decompress=False,  # an object is what was put there
        skip_auto_headers=_NOT_SENT,
    ) as session:
        yield Bucket(session, access)


def _keys(access: S3Access) -> Keys | None:
    known, secret = revealed(access.access_key_id), revealed(access.secret_access_key)
    if known is None or secret is None:
        return None
    token = revealed(access.session_token)
    return Keys(access_key_id=known, secret=secret, token=token, region=access.region)


async def _bounded(response: ClientResponse) -> bytes:
    """Return an answer that is no object."""
    found = bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        found += piece
        if len(found) > _LONGEST_ANSWER:
            raise ClientPayloadError(f"its answer is larger than {_LONGEST_ANSWER:,} bytes")
    return bytes(found)
