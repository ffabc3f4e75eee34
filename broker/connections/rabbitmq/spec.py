"""The part of a ``spec`` that says where RabbitMQ is, and who connects to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from broker.characters import hidden, misfit
from broker.connections.rabbitmq.address import NOT_A_URL, Address, parse_address
from broker.connections.rabbitmq.server import ClientOptions, Fields, url_of
from broker.connections.tls import Tls
from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText, revealed
from broker.tls import tls_context

_FIELDS: Final = Fields(
    login="'user' and 'password'",
    authority="'tls.caCert'",
    certificate="'tls.cert'",
    pair="'tls.cert' and 'tls.key'",
)
_NOBODY: Final = "guest"  # whom a server lets in from its own host, as long as nobody changed it
_LONGEST: Final = 255  # bytes of a short string, AMQP 0-9-1, section 4.2.5.3


def _url(text: str) -> str:
    if "@" in text:
        # It may show a password, so it is not repeated.
        raise ValueError("has a user or a password in it; say them by 'user' and 'password'")
    try:
        parse_address(text)
    except ValueError as error:
        if str(error) != NOT_A_URL:
            raise
        raise ValueError(
            f"'{text}' is not of the form amqp://HOST:PORT/VHOST, or amqps:// for TLS"
        ) from None
    return text


def _name(text: str) -> str:
    index = hidden(text)
    if index is not None:
        raise ValueError(misfit(text, index, "name at RabbitMQ"))
    if len(text.encode()) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} bytes")
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_name)]
"""The name of a queue or an exchange."""


class RabbitmqAccess(Shape):
    """Where the server is, and who connects: by a password, or by a certificate and no user."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)]
    user: SecretText | None = None
    password: SecretText | None = None
    tls: Tls = Tls()

    @property
    def address(self) -> Address:
        return parse_address(self.url)

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("'user' and 'password' are of no use without each other")
        for name, value in (("user", self.user), ("password", self.password)):
            text = revealed(value)
            if text is None:
                continue
            index = hidden(text)
            if not text:
                raise ValueError(f"'{name}' is empty")
            if index is not None:
                raise ValueError(f"'{name}' {misfit(text, index, f'{name} of RabbitMQ')}")
        if self.tls.enable and not self.address.tls:
            raise ValueError("'url' is amqp:, which is without TLS, and 'tls.enable' is true")
        if not self.tls.enable and (self.tls.ca_cert or self.tls.cert or self.tls.key):
            raise ValueError("'tls' has certificates, and 'enable' is not true beside them")
        return self

    def server_at(self, vhost: str | None = None) -> Access:
        """Return the server, for whoever connects to it; ``vhost`` is the URL's unless given."""
        address = self.address
        return Access(
            server=f"{address.host}:{address.port}",
            tls=address.tls,
            vhost=vhost or address.vhost or "/",
            login=revealed(self.user),
            password=revealed(self.password),
            ca_cert=revealed(self.tls.ca_cert),
            cert=revealed(self.tls.cert),
            key=revealed(self.tls.key),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a ``spec`` says, as `broker.connections.rabbitmq.connecting` takes it: a `Server`."""

    server: str
    tls: bool
    vhost: str
    login: str | None
    password: str | None = field(repr=False)
    ca_cert: str | None = field(repr=False)
    cert: str | None = field(repr=False)
    key: str | None = field(repr=False)

    @property
    def user(self) -> str | None:
        return self.login or (_NOBODY if self.cert is None else None)

    @property
    def fields(self) -> Fields:
        return _FIELDS

    def client_options(self) -> ClientOptions:
        context = tls_context(self.ca_cert, self.cert, self.key) if self.tls else None
        return ClientOptions(url=url_of(self, self.password), ssl_context=context)
