"""Where a URL leads: what a connection needs to know, and what the request line says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import urlsplit

from broker.errors import CemeshError
from broker.policy import ClientCertificate, Network

_PORTS: Final = {"http": 80, "https": 443}
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_HOST: Final = re.compile(r"[a-z0-9._\-]+")


class InvalidUrl(CemeshError):
    """Nothing can be sent to that URL; the text says why, without repeating it.

    A URL that is refused may well hold a password.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What connecting somewhere takes beside the URL.

    ``ca_certs`` is PEM text that is trusted beside the system's own authorities, ``certificate``
    what is shown to whom asks for one, ``network`` where connections may lead.
    """

    ca_certs: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None
    network: Network = Network(loopback=True)
    # Every request looks its route up, and hashing all of that takes half a microsecond.
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.ca_certs, self.certificate, self.network)))

    def __hash__(self) -> int:
        return self._hash


ANYWHERE: Final = Route(network=Network(allowed=("0.0.0.0/0", "::/0")))
"""The route of whoever sends where a person just said, and needs no guard."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom to connect to. Connections of one origin stand in for each other."""

    tls: bool
    host: str
    port: int
    route: Route = Route()
    _hash: int = field(init=False, repr=False, compare=False)  # as that of a route

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.tls, self.host, self.port, self.route)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. ``authority`` is the Host header, ``target`` the request target."""

    origin: Origin
    authority: bytes
    target: bytes


@lru_cache(maxsize=4096)
def parse(url: str, route: Route = Route()) -> Address:
    """Take an absolute http or https URL apart, or raise `InvalidUrl`.

    The path and the query are sent as they stand; a fragment is not sent.
    """
    if _BLANK.search(url):
        raise InvalidUrl("the URL contains a blank or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidUrl(f"the URL cannot be read: {error}") from None
    if parts.scheme not in _PORTS:
        raise InvalidUrl("the URL is not an http or https URL")
    if "@" in parts.netloc:
        raise InvalidUrl("the URL holds a user name or password, which does not belong there")
    if port == 0:
        raise InvalidUrl("the URL names port 0")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if not target.isascii():
        raise InvalidUrl("the URL's path or query contains a character to be percent-encoded")
    host = _host(parts.hostname or "")
    tls = parts.scheme == "https"
    authority = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[parts.scheme]:
        authority += f":{port}"
    origin = Origin(tls, host, port or _PORTS[parts.scheme], route)
    return Address(origin, authority.encode("ascii"), target.encode("ascii"))


def _host(host: str) -> str:
    try:
        if ":" in host and "%" not in host:
            return str(IPv6Address(host))
        name = host.encode("idna").decode("ascii")
    except (UnicodeError, AddressValueError) as error:
        raise InvalidUrl(f"the URL names no valid host: {error}") from None
    if not _HOST.fullmatch(name):
        raise InvalidUrl("the URL names no valid host")
    return name
