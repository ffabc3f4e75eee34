"""Where a RabbitMQ server is, and as whom to come: what AMQP URIs say.

Follows the RabbitMQ URI Specification, but that a path of ``/`` means the default virtual host,
as the clients of most languages have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from broker.characters import hidden, misfit

PORT: Final = 5672
TLS_PORT: Final = 5671
NOT_A_URL: Final = "is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://"

_SCHEMES: Final = {"amqp": False, "amqps": True}
_HOST: Final = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_AUTHORITY: Final = re.compile(
    rf"(?:(?P<user>[^:@]*)(?P<with_password>:(?P<password>[^@]*))?@)?"
    rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
)
_LAST_PORT, _LONGEST_VHOST = (1 << 16) - 1, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, and as much as is said of how to be let in."""

    host: str
    port: int
    tls: bool
    vhost: str | None = None
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def parse_address(url: str) -> Address:
    """Return what an AMQP URI says, which has no query.

    Raises `ValueError`, whose text goes on where the URL's name ends, and shows none of it.
    """
    index = hidden(url, but="")
    if index is not None:
        raise ValueError(misfit(url, index, "URL"))
    try:
        parts = urlsplit(url)
    except ValueError:  # which quotes parts of it
        raise ValueError(NOT_A_URL) from None
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None or parts.scheme not in _SCHEMES or parts.query or parts.fragment:
        raise ValueError(NOT_A_URL)
    tls = _SCHEMES[parts.scheme]
    port = parse_port(found["port"]) if found["port"] else default_port(tls=tls)
    if found["user"] is not None and not (found["user"] and found["password"]):
        raise ValueError("has a user or a password, and not the other one")
    return Address(
        host=found["host"],
        port=port,
        tls=tls,
        vhost=_vhost(parts.path),
        user=_decoded(found["user"], "user name"),
        password=_decoded(found["password"], "password"),
    )


def is_host(text: str) -> bool:
    """Return whether that can be the name or the address of a host."""
    return re.fullmatch(_HOST, text) is not None


def default_port(*, tls: bool) -> int:
    """Return where a server listens that does not say."""
    return TLS_PORT if tls else PORT


def parse_port(text: str) -> int:
    """Return a port's number; raises `ValueError`."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= _LAST_PORT:
        raise ValueError(f"has a port that is no number from 1 to {_LAST_PORT}")
    return int(text)


def vhost_fault(name: str) -> str | None:
    """Return why no virtual host that can be reached has that name, or None."""
    index = hidden(name)
    if index is not None:
        return misfit(name, index, "virtual host")
    if "%2F" in name.upper():  # aiormq would take it for one
        return "has '%2F' in it, which stands for a slash in a URL alone; write a slash"
    if not name or name in (".", "..") or len(name.encode()) > _LONGEST_VHOST:
        return f"is no name of a virtual host: at most {_LONGEST_VHOST} bytes, and not '.' or '..'"
    return None


def _vhost(path: str) -> str | None:
    if path in ("", "/"):
        return None
    segment = path[1:]
    if segment != "/" and "/" in segment:
        raise ValueError("has a virtual host with a slash, which is written as %2F")
    name = _decoded(segment, "virtual host") or ""
    fault = vhost_fault(name)
    if fault is not None:
        raise ValueError(f"has a virtual host that {fault}")
    return name


def _decoded(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"has a {what} that is not UTF-8") from None
    index = hidden(decoded)
    if index is not None:
        raise ValueError(f"has a {what} that {misfit(decoded, index, what)}")
    return decoded
