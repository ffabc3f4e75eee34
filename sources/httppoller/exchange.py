"""One request and its answer, over a connection of their own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from yarl import URL

from broker.codecs.http import written
from broker.errors import CemeshError

Headers = Sequence[tuple[bytes, bytes]]

_MAX_HEAD: Final = 64 << 10
_CHUNK: Final = 64 << 10


class NoAnswer(CemeshError):
    """There is no answer, or none that is taken; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. Header names are in lower case."""

    url: URL
    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of the first header of that lower-case name."""
        found = (value for each, value in self.headers if each == name.encode())
        value = next(found, None)
        return None if value is None else value.decode("latin-1")


async def get(
    url: URL, headers: Sequence[tuple[str, str]], *, tls: ssl.SSLContext | None, at_most: int
) -> Response:
    """Return what a GET is answered, with at most so many bytes of a body; follow no redirect.

    Raises `NoAnswer`, or `OSError` where there is no connection.
    """
    reader, writer = await asyncio.open_connection(url.raw_host, url.port, ssl=tls)
    try:
        writer.write(_head(url, headers))
        await writer.drain()
        answer = _Answer(at_most)
        while not answer.complete:
            data = await reader.read(_CHUNK)
            if not data:
                answer.end()
                break
            answer.feed(data)
        return answer.response(url)
    finally:
        writer.transport.abort()  # nothing of value is on the way


def _head(url: URL, headers: Sequence[tuple[str, str]]) -> bytes:
    line = f"GET {url.raw_path_qs or '/'} HTTP/1.1".encode("ascii")
    authority = (url.host_port_subcomponent or "").encode("ascii")
    fields = [(name.encode("ascii"), text.encode()) for name, text in headers]
    return line + written([(b"Host", authority), *fields, (b"Connection", b"close")]) + b"\r\n\r\n"


class _Answer:
    """Reads an answer (RFC 9112, sections 4 to 7). What httptools calls of it never raises."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._parser = HttpResponseParser(self)
        self._read = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_complete = False
        self._framed = False
        self._body = bytearray()
        self.complete = False

    def feed(self, data: bytes) -> None:
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.complete:  # what follows an answer is nobody's business
                raise NoAnswer(f"its answer is not valid HTTP/1.1: {error}") from None
        if not self._head_complete and self._read > _MAX_HEAD:
            raise NoAnswer(f"the headers of its answer are longer than {_MAX_HEAD:,} bytes")
        # In chunks of one byte, a body takes six bytes for each of its own: more is padding.
        if len(self._body) > self._at_most or self._read > _MAX_HEAD + 8 * self._at_most:
            raise NoAnswer(f"its answer is longer than maxBodyBytes, {self._at_most:,}")

    def end(self) -> None:
        if not self._head_complete or self._framed:
            how = "in the middle of" if self._read else "before"
            hint = "does it expect TLS, or a certificate?"
            raise NoAnswer(f"it closed the connection {how} its answer; {hint}")

    def response(self, url: URL) -> Response:
        status = self._parser.get_status_code()
        return Response(url=url, status=status, headers=self._headers, body=bytes(self._body))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:
            return  # a trailer
        name = name.lower()
        self._framed |= name in (b"content-length", b"transfer-encoding")
        self._headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self._head_complete = not self._is_interim()

    def on_body(self, body: bytes) -> None:
        if len(self._body) <= self._at_most:
            self._body += body

    def on_message_complete(self) -> None:
        if self._is_interim():
            self._headers, self._framed = [], False
        else:
            self.complete = True

    def _is_interim(self) -> bool:
        return 100 <= self._parser.get_status_code() < 200
