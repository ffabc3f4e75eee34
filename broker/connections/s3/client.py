"""What S3 is asked, over connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as Xml

from aiohttp import ClientPayloadError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from broker.connections.s3.faults import S3Error, phrase
from broker.connections.s3.signing import Keys, path_of, query_of, signed
from broker.connections.s3.spec import S3Access
from broker.manifest.specs import revealed
from broker.tls import tls_context

ANSWERS_WITHIN: Final = 8.0
"""Seconds until a connection is there, and that an answer may pause. Large ones take longer."""

_CONNECTIONS: Final = 32
_LONGEST_ANSWER: Final = 16 << 20
_PIECE: Final = 256 << 10
_QUOTE: Final = '"'
_NOT_SENT: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a list of a bucket has it. ``modified`` is ``time`` as it stands there."""

    key: str
    etag: str
    size: int
    modified: str
    time: datetime

    @property
    def version(self) -> str:
        """What no other object, and no other content of the same, has as well."""
        # Who puts the same content there once more means to say it once more.
        return f"{self.key}@{self.etag.strip(_QUOTE)}@{self.modified}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Objects in the order of their keys; ``token`` leads to the next page, if there is one.

    ``now`` is what the server's clock shows.
    """

    objects: Sequence[Listed]
    token: str | None
    now: datetime


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
            return _page(await _bounded(response), response.headers.get("Date"))

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
                raise _error(response.status, body)

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
            data=body if method == "PUT" else None,
            allow_redirects=False,
        ) as response:
            if not response.ok or response.status >= 300:
                raise _error(response.status, await _bounded(response))
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


def _page(body: bytes, date: str | None) -> Page:
    root = _xml(body)
    if root is None or root.tag != "ListBucketResult":
        raise ClientPayloadError("it answers with something that is no list of S3")
    encoded = root.findtext("EncodingType") == "url"
    try:
        objects = [_listed(each, encoded=encoded) for each in root.iter("Contents")]
        now = datetime.now(UTC) if date is None else parsedate_to_datetime(date)
    except ValueError as error:
        raise ClientPayloadError(f"its list of S3 cannot be read: {error}") from error
    more = root.findtext("IsTruncated") == "true"
    token = root.findtext("NextContinuationToken") if more else None
    return Page(objects=objects, token=token, now=now)


def _listed(element: Xml.Element, *, encoded: bool) -> Listed:
    key, modified = _text(element, "Key"), _text(element, "LastModified")
    return Listed(
        key=unquote_plus(key) if encoded else key,
        etag=_text(element, "ETag"),
        size=int(_text(element, "Size")),
        modified=modified,
        time=datetime.fromisoformat(modified).astimezone(UTC),
    )


def _error(status: int, body: bytes) -> S3Error:
    root = _xml(body)
    if root is None or root.tag != "Error":
        return S3Error(status, phrase(status), "")
    return S3Error(status, root.findtext("Code") or phrase(status), root.findtext("Message") or "")


def _xml(body: bytes) -> Xml.Element | None:
    """Return what the text is without namespaces, or None where it is no XML."""
    try:
        root = Xml.fromstring(body)  # noqa: S314 - expat bounds what entities grow to
    except Xml.ParseError:
        return None
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    return root


def _text(element: Xml.Element, name: str) -> str:
    found = element.findtext(name)
    if found is None:
        raise ValueError(f"an object has no {name}")
    return found
