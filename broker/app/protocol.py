"""uvicorn's HTTP protocol over httptools, with three things put right.

* **An offered upgrade is declined, not half accepted.** The parser ends a request that offers
  one (``Upgrade: h2c``, as Java's client and ``curl --http2`` do) at its head: the application
  sees no body, so an event would be stored without its data.
* **A head is bounded.** uvicorn gathers one of any size before it asks the application.
* **A client that rests over TLS does not hold the end up.** A connection is closed once the client
  has agreed to that, and one that rests, as in a pool, does not read.

And the application knows by which certificate a client has proved who it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.admin.clients import CLIENT_CERTIFICATE

MAX_HEAD_BYTES: Final = 128 << 10
"""Twice what an event may take on the wire and has to be forwarded (64 KiB, headers included)."""

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
_LINGER: Final = 1.0
"""Seconds in which a client that is refused while it sends can still read why, and one that rests
can agree to the end.
"""


_SHORT: Final = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}


class HttpProtocol(HttpToolsProtocol):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - they are uvicorn's
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower, as uvicorn's
        super().connection_made(transport)
        shown = transport.get_extra_info("peercert")
        if shown:
            self.app_state = {**self.app_state, CLIENT_CERTIFICATE: _subject(shown)}

    def shutdown(self) -> None:
        super().shutdown()
        is_resting = self.transport.is_closing() and not self.transport.get_write_buffer_size()
        if is_resting and self.transport.get_extra_info("ssl_object") is not None:
            self.loop.call_later(_LINGER, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            if not self.transport.is_closing():  # as by an answer in the middle of its request
                self.send_400_response("Invalid HTTP request received.")
        else:
            if self._in_head and not self.transport.is_closing():
                # Where the head began in these bytes, it did behind the last one in them.
                begun = data.rfind(b"\r\n\r\n") + 4 if self._head_bytes == 0 else 0
                self._head_bytes += len(data) - begun
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if not self._upgrade_is_offered():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._upgrade_is_offered():
            super().on_message_complete()

    def _upgrade_is_offered(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _decline(self, rest: bytes) -> None:
        """Read the request again as if it offered nothing (RFC 9110, section 7.8)."""
        line = b"%s %s HTTP/%s" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode("ascii"),
        )
        head = b"\r\n".join([line, *_without_upgrade(self.headers), b"", b""])
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(head + rest)

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(_TOO_LARGE)
        self.loop.call_later(_LINGER, self.transport.close)


def _subject(certificate: dict[str, Any]) -> str:
    """Return whose it is, by what `ssl` tells of a certificate: ``CN=…, O=…``."""
    parts = [part for each in certificate.get("subject", ()) for part in each]
    return ", ".join(f"{_SHORT.get(name, name)}={value}" for name, value in reversed(parts))


def _without_upgrade(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for name, value in headers:
        if name == b"connection":
            options = [each.strip() for each in value.split(b",")]
            yield b"connection: " + b", ".join(
                each for each in options if each.lower() != b"upgrade"
            )
        elif name != b"upgrade":
            yield b"%s: %s" % (name, value)
