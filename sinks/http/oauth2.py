"""Access tokens by the client credentials grant (RFC 6749, section 4.4)."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import timedelta
from http import HTTPStatus
from typing import Final
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from broker.policy import Network, OAuth2
from sinks.http.address import InvalidUrl, Route, parse
from sinks.http.answers import phrase, retry_after
from sinks.http.client import HttpClient
from sinks.http.grants import Grant, Grants, NotGranted, Start
from sinks.http.reader import NoAnswer, Response

_TIMEOUT: Final = timedelta(seconds=10)

_UNSAID: Final = timedelta(minutes=5)
"""How long a token is used whose answer does not say how long it lasts."""

_LONGEST: Final = timedelta(days=1)

_BEARER: Final = re.compile(r"[!-~]{1,65536}")

_TOLD: Final = frozenset(
    {
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""The errors of RFC 6749 and 8707. Any other word might repeat what was sent, and is not told."""


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    expires_in: int | None = None

    def __repr__(self) -> str:
        return "_Token(…)"


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


# What decoding raises: text that is no UTF-8, and nesting without end, are errors of Python's own.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Some endpoints write the number of seconds as text.
_token: Final = msgspec.json.Decoder(_Token, strict=False)
_error: Final = msgspec.json.Decoder(_Error)

Tokens = Grants[bytes]
"""Grants the value of an ``Authorization`` header."""


def tokens(client: HttpClient, oauth2: OAuth2, network: Network, start: Start) -> Tokens:
    """Return what asks for tokens; connects to nothing yet. Raises `InvalidUrl`."""
    try:
        parse(oauth2.token_url)
    except InvalidUrl as error:
        raise InvalidUrl(f"no token can be asked for: {error}") from None
    endpoint = _Endpoint(client, oauth2, network)
    return Grants("waiting for the token endpoint", endpoint.url, endpoint.ask, start)


class _Endpoint:
    """Where tokens are. ``url`` is told, and so has no query."""

    def __init__(self, client: HttpClient, oauth2: OAuth2, network: Network) -> None:
        parts = urlsplit(oauth2.token_url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._name = f"the token endpoint {self.url}"
        self._client = client
        self._full_url = oauth2.token_url
        self._route = Route(network=network)
        self._headers = [
            (b"Content-Type", b"application/x-www-form-urlencoded"),
            (b"Accept", b"application/json"),
        ]
        form = {"grant_type": "client_credentials"}
        match oauth2.authentication:  # section 2.3.1
            case "basic":
                # Both are form-encoded before they are put together.
                user = f"{quote_plus(oauth2.client_id)}:{quote_plus(oauth2.client_secret)}"
                basic = b"Basic " + b64encode(user.encode("ascii"))
                self._headers.append((b"Authorization", basic))
            case "post":
                form |= {"client_id": oauth2.client_id, "client_secret": oauth2.client_secret}
        if oauth2.scopes:
            form["scope"] = " ".join(oauth2.scopes)
        if oauth2.audience is not None:
            form["audience"] = oauth2.audience
        self._body = urlencode(form).encode("ascii")

    async def ask(self) -> Grant[bytes]:
        """Return a token as a header's value. Raises `NotGranted`, whatever went wrong."""
        try:
            response = await self._client.request(
                "POST",
                self._full_url,
                self._headers,
                self._body,
                timeout=_TIMEOUT,
                route=self._route,
            )
        except NoAnswer as error:
            raise NotGranted(f"{self._name}: {error.reason}") from None
        if response.status != HTTPStatus.OK:
            said = " ".join([phrase(response.status), _told(response)]).rstrip()
            raise NotGranted(f"{self._name} answered {said}", retry_after(response))
        return self._grant(response)

    def _grant(self, response: Response) -> Grant[bytes]:
        try:
            token = _token.decode(response.body)
        except _UNREADABLE:
            raise NotGranted(f"{self._name} answered 200, but not with a token") from None
        if token.token_type.lower() != "bearer":
            raise NotGranted(f"{self._name} answered with a token that is not of the type bearer")
        if not _BEARER.fullmatch(token.access_token):
            raise NotGranted(f"{self._name} answered with a token that no header can carry")
        lasts = _UNSAID if token.expires_in is None else _seconds(token.expires_in)
        return Grant(value=f"Bearer {token.access_token}".encode("ascii"), lasts=lasts)


def _seconds(count: int) -> timedelta:
    return timedelta(seconds=max(0, min(count, int(_LONGEST.total_seconds()))))


def _told(response: Response) -> str:
    """Return the error that the answer names (section 5.2), or nothing."""
    try:
        error = _error.decode(response.body).error
    except _UNREADABLE:
        return ""
    return error if error in _TOLD else ""
