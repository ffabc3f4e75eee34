"""Reads HTTP/1.1 answers off one connection (RFC 9112, sections 4 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from broker.errors import CemeshError

MAX_HEAD: Final = 64 * 1024
"""Bytes of status line and headers that are read, those of interim answers included."""

MAX_BODY: Final = 1024 * 1024
"""Bytes of a body that are read; of a longer one, only these."""

# A body cut into chunks of one byte takes six bytes on the wire for each of its own. What is
# longer than that is padding: chunk extensions or trailers without end.
_MAX_WIRE: Final = MAX_HEAD + 8 * MAX_BODY


class NoAnswer(CemeshError):
    """The peer gave no answer, or none that is HTTP. ``reason`` says why in plain words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. Header names are in lower case.

    ``truncated`` says that the body was longer than `MAX_BODY` and that the rest is missing.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    truncated: bool

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that lower-case name."""
        return next((value for each, value in self.headers if each == name), None)


class ResponseReader:
    """Turns the bytes of one connection into answers, one request's after the other.

    Interim answers (1xx) are skipped. ``heard`` says whether any byte of the answer that is
    awaited has come, ``reusable`` whether the connection may carry another request.
    """

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self.expect()

    def expect(self) -> None:
        """Get ready for the answer to the next request."""
        self.heard = False
        self.reusable = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._wire_size = 0
        self._head_complete = False
        self._ends_with_connection = True
        self._response: Response | None = None

    @property
    def stage(self) -> str:
        """How far the answer that is awaited has come, in words, once any byte of it has."""
        part = "body" if self._head_complete else "headers"
        return f"in the middle of the answer's {part}"

    def feed(self, data: bytes) -> Response | None:
        """Return the answer once ``data`` completes it; raise `NoAnswer` if it cannot be one."""
        self.heard = True
        self._wire_size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # What follows a complete answer costs the connection only: see on_message_begin.
            if self._response is None:
                raise NoAnswer(f"the answer is not valid HTTP/1.1: {error}") from None
        if self._response is None:
            self._check_size()
        return self._response

    def end(self) -> Response:
        """Return the answer that the end of the connection completes, or raise `NoAnswer`."""
        if self._head_complete and self._ends_with_connection:
            self._finish(truncated=False)
        if self._response is None:
            where = "in the middle of" if self.heard else "before"
            raise NoAnswer(f"the connection was closed {where} the answer")
        return self._response

    def _check_size(self) -> None:
        if not self._head_complete and self._wire_size > MAX_HEAD:
            raise NoAnswer(f"the answer's headers are longer than {MAX_HEAD} bytes")
        if self._wire_size > _MAX_WIRE:
            raise NoAnswer(f"the answer's body is padded to more than {_MAX_WIRE} bytes")

    def _finish(self, *, truncated: bool) -> None:
        self._response = Response(
            status=self._parser.get_status_code(),
            headers=self._headers,
            body=b"".join(self._body),
            truncated=truncated,
        )

    # What the parser calls. None of these raises: it would only wrap the exception.

    def on_message_begin(self) -> None:
        if self._response is not None:
            self.reusable = False  # an answer that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete or self._response is not None:
            return  # a trailer
        name = name.lower()
        if name == b"content-length" or (
            name == b"transfer-encoding" and b"chunked" in value.lower()
        ):
            self._ends_with_connection = False
        self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self._response is None and not self._interim():
            self._head_complete = True

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            return
        self._body.append(body[: MAX_BODY - self._body_size])
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            self._finish(truncated=True)

    def on_message_complete(self) -> None:
        if self._response is not None:
            return
        if self._interim():
            self._headers = []
            self._ends_with_connection = True
            return
        self.reusable = self._parser.should_keep_alive()
        self._finish(truncated=False)

    def _interim(self) -> bool:
        return 100 <= self._parser.get_status_code() < 200
