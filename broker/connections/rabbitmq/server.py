"""What is said of a RabbitMQ server by whoever connects to it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Protocol, TypedDict
from urllib.parse import quote

_ANYBODY: Final = "guest"


class ClientOptions(TypedDict):
    """The options by which aiormq connects."""

    url: str
    ssl_context: ssl.SSLContext | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """How errors call what a server's user is to look at: where it is written."""

    login: str
    authority: str
    certificate: str
    pair: str


class Server(Protocol):
    """A server, a virtual host there, and as whom to come.

    ``server`` is ``HOST:PORT``; ``user`` is None for who comes by a certificate alone.
    """

    @property
    def server(self) -> str: ...

    @property
    def tls(self) -> bool: ...

    @property
    def vhost(self) -> str: ...

    @property
    def user(self) -> str | None: ...

    @property
    def fields(self) -> Fields: ...

    def client_options(self) -> ClientOptions:
        """Return how to connect. Blocks, up to 0.1 s, the first time for a set of certificates."""
        ...


def url_of(server: Server, password: str | None) -> str:
    """Return the URL that aiormq connects by. Without a user that is by a certificate."""
    user = server.user
    scheme = "amqps" if server.tls else "amqp"
    login = f"{_quoted(user or _ANYBODY)}:{_quoted(password or _ANYBODY)}"
    external = "?auth=external" if user is None else ""
    return f"{scheme}://{login}@{server.server}/{_quoted(server.vhost)}{external}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
