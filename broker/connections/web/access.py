"""The part of a ``spec`` that says who asks a web server, and how it is trusted."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from yarl import URL

from broker.characters import hidden, misfit
from broker.connections.tls import Certificates
from broker.manifest.shapes import Shape
from broker.manifest.specs import PlainOrSecretText, SecretText, revealed
from broker.tls import tls_context

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = re.compile(
    "host|connection|upgrade|content-length|transfer-encoding|sec-websocket-.*"
    "|if-none-match|if-modified-since|accept-encoding"
)
_AUTHORIZATION: Final = "Authorization"


def _name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{text}' is not the name of a header")
    if _OURS.fullmatch(text.lower()):
        raise ValueError(f"'{text}' is said by the source itself")
    return text


HeaderName = Annotated[str, AfterValidator(_name)]


def dotted_path(text: str) -> str:
    """Return a path such as ``data.items``; raise `ValueError` where it is none."""
    if "" in text.split("."):
        raise ValueError(f"'{text}' is not a path such as data.items")
    return text


class Basic(Shape):
    user: SecretText
    password: SecretText


class Auth(Shape):
    """Who asks: ``bearer``, a token, or ``basic``, a user and a password."""

    bearer: SecretText | None = None
    basic: Basic | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.bearer is None) == (self.basic is None):
            raise ValueError("takes one of 'bearer' and 'basic'")
        texts = {"bearer": self.bearer}
        if self.basic is not None:
            texts = {"user": self.basic.user, "password": self.basic.password}
        for name, secret in texts.items():
            _check(name, "" if secret is None else secret.get_secret_value(), empty=False)
        if self.basic is not None and ":" in self.basic.user.get_secret_value():
            raise ValueError("'user' has a ':' in it, which ends a user's name")
        return self

    @property
    def value(self) -> str:
        """What the header ``Authorization`` says."""
        if self.bearer is not None:
            return f"Bearer {self.bearer.get_secret_value()}"
        assert self.basic is not None  # noqa: S101 - `_is_one` has seen it
        pair = f"{self.basic.user.get_secret_value()}:{self.basic.password.get_secret_value()}"
        return f"Basic {b64encode(pair.encode()).decode()}"


class WebAccess(Shape):
    """Who asks, by ``headers`` and ``auth``, and how the server is trusted.

    Values of headers may be secrets, too, and are in no `repr`.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    headers: dict[HeaderName, PlainOrSecretText] = Field(default_factory=dict)
    auth: Auth | None = None
    tls: Certificates | None = None

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        for name, text in self.headers.items():
            _check(name, text.get_secret_value())
        names = [name.lower() for name in self.headers]
        if len({*names}) < len(names):
            raise ValueError("'headers' has one of its names twice, in upper and in lower case")
        if self.auth is not None and _AUTHORIZATION.lower() in names:
            raise ValueError("'headers' and 'auth' both say 'Authorization'")
        return self

    def said_headers(self) -> Sequence[tuple[str, str]]:
        """Return the headers that say who asks, for the server of the ``url`` alone."""
        found = [(name, text.get_secret_value()) for name, text in self.headers.items()]
        return found if self.auth is None else [*found, (_AUTHORIZATION, self.auth.value)]

    def tls_context(self, *, ours: bool = True) -> ssl.SSLContext:
        """Return TLS for the server, or for another that it leads to, which sees no certificate.

        May block for 0.1 s, reading authorities.
        """
        tls = self.tls or Certificates()
        pair = (tls.cert, tls.key) if ours else (None, None)
        return tls_context(*map(revealed, (tls.ca_cert, *pair)))


def checked_url(text: str, plain: str, secure: str) -> str:
    """Return an absolute URL of one of the two schemes; raise `ValueError` that says why not."""
    example = f"such as {secure}://HOST/PATH"
    if "@" in text.partition("?")[0]:
        # Not quoted: it may have a password in it.
        raise ValueError("has a user, or an '@', in it; who asks is said by 'auth'")
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ValueError(f"is not a URL {example}") from None
    if url.scheme not in (plain, secure) or not url.host or not port:
        raise ValueError(f"is not a URL of {plain}: or {secure}:, {example}")
    if url.fragment:
        raise ValueError("has a fragment, which no server sees; leave out what follows the '#'")
    index = hidden(text, but="")
    if index is not None:
        raise ValueError(misfit(text, index, "URL"))
    return text


def _check(name: str, text: str, *, empty: bool = True) -> None:
    index = hidden(text)
    if index is not None:
        raise ValueError(f"'{name}' {misfit(text, index, 'header')}")
    if not text and not empty:
        raise ValueError(f"'{name}' is empty")
