"""Tunnels through an HTTP proxy, by CONNECT (RFC 9110, section 9.3.6).

Plain HTTP goes through a tunnel too: the proxy then sees whom an event is for, and not the event.
It is the proxy that looks the name up, so the guard can only judge addresses that a URL
spells out, and where names may lead is up to the proxy's own rules.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from broker.policy import Network
from sinks.http.destinations import destinations_of, literal, plain
from sinks.http.reader import NoAnswer

_LONGEST_HEAD: Final = 16 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r\n)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where a proxy is, and the value of the Proxy-Authorization header that it gets."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


@lru_cache(maxsize=256)
def parse_proxy(url: str) -> Proxy:
    """Read ``http://HOST:PORT`` or ``http://USER:PASSWORD@HOST:PORT``.

    Raises ValueError with what is wrong, without repeating the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the proxy's URL cannot be read") from None
    if parts.scheme != "http":
        raise ValueError("the proxy's URL is not an http URL: others are not spoken to")
    if not parts.hostname or not port:
        raise ValueError("the proxy's URL names no host and port")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("the proxy's URL has a path, which means nothing there")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(credentials.encode()).decode('ascii')}"
    return Proxy(host=parts.hostname, port=port, authorization=authorization)


def proxy_to(network: Network, host: str) -> Proxy | None:
    """Return the proxy that leads to ``host``, None where connections go there directly.

    The mesh's own machine is always reached directly: the proxy's would be another.
    """
    if network.proxy is None:
        return None
    direct = destinations_of(network.no_proxy)
    address = literal(host)
    if address is None:
        local = host.removesuffix(".").rpartition(".")[2] == "localhost"
        return None if local or direct.has_name(host) else parse_proxy(network.proxy)
    ip = plain(address)
    return None if ip.is_loopback or direct.has_address(ip) else parse_proxy(network.proxy)


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel. ``opened`` is done when there is one, or fails with `NoAnswer`."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._request = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")
        self._head = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what create_connection makes
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            if self._transport is not None:
                self._transport.abort()  # nobody has asked the subscriber for anything yet
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._judge()
        elif len(self._head) > _LONGEST_HEAD:
            self._fail(f"the proxy's headers are longer than {_LONGEST_HEAD} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self._fail("the proxy closed the connection")

    def _judge(self) -> None:
        found = _STATUS.match(self._head)
        if found is None:
            self._fail("the proxy's answer is not valid HTTP/1.1")
        elif not found[1].startswith(b"2"):
            self._fail(f"the proxy opened no tunnel: it answered {int(found[1])}")
        elif not self._head.endswith(b"\r\n\r\n"):
            self._fail("the proxy sent what nobody asked for")
        else:
            self.opened.set_result(None)

    def _fail(self, reason: str) -> None:
        self.opened.set_exception(NoAnswer(reason))
