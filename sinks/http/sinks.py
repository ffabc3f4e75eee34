"""All destinations of HTTP: what they share, and what each is made of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from functools import lru_cache, partial
from typing import Any, Final, Self
from weakref import WeakValueDictionary

from broker.policy import Credentials, Network, OAuth2, Signing
from broker.ports import Sink, SinkOptions
from broker.trigger import Target
from broker.urls import without_credentials
from sinks.http.address import InvalidUrl, Route, parse
from sinks.http.client import HttpClient
from sinks.http.consent import Consents
from sinks.http.destinations import literal
from sinks.http.flaws import flaw
from sinks.http.guard import refusal
from sinks.http.oauth2 import Tokens
from sinks.http.oauth2 import tokens as of_client
from sinks.http.reader import NoAnswer
from sinks.http.sink import HttpSink, Leave
from sinks.http.tls import tls_context
from sinks.http.tokenfile import tokens as in_file

_log: Final = logging.getLogger("cemesh.delivery")


class HttpSinks:
    """All http and https destinations; they share one client and its connections.

    And the tokens of one OAuth 2 client or one file, as long as a sink uses them.
    """

    def __init__(self) -> None:
        self._client = HttpClient()
        self._tokens: WeakValueDictionary[Hashable, Tokens] = WeakValueDictionary()
        self._asking: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._client.__aexit__(*exc)

    @classmethod
    def check(cls, target: Target) -> str | None:
        try:
            if parse(target.url).origin.tls:
                tls_context(target.ca_certs)
        except (InvalidUrl, NoAnswer) as error:
            return str(error)
        return None

    @classmethod
    def flaw(cls, proof: Signing | Credentials) -> str | None:
        """See `broker.ports.ProvingSinks`."""
        return flaw(proof)

    def sink(self, target: Target, options: SinkOptions) -> Sink:
        """Return the sink. Raises a `CemeshError` where a key or a token's URL is of no use."""
        route = Route(
            ca_certs=target.ca_certs,
            certificate=options.credentials.certificate,
            network=options.network,
        )
        _warn_of_refused(target.url, options.network)
        consent, tokens = options.consent, self._tokens_of(options.credentials, options.network)
        leave = None
        if consent is not None or tokens is not None:
            leave = Leave(
                consent=None
                if consent is None
                else Consents(
                    self._client, target.url, consent, route, self._start, options.callbacks
                ),
                tokens=tokens,
            )
        return HttpSink(self._client, target.url, route, options, leave)

    def _tokens_of(self, credentials: Credentials, network: Network) -> Tokens | None:
        make: Callable[[], Tokens]
        match credentials:
            case Credentials(oauth2=OAuth2() as oauth2):
                make = partial(of_client, self._client, oauth2, network, self._start)
            case Credentials(token_file=str(path)):
                make = partial(in_file, path, self._start)
            case _:
                return None
        key = (credentials.oauth2, credentials.token_file, network)
        found = self._tokens.get(key)
        if found is None:
            found = self._tokens[key] = make()
        return found

    def _start(self, asking: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task


def _warn_of_refused(url: str, network: Network) -> None:
    """Tell at once of an address that no attempt will reach: of a name, only attempts can tell."""
    try:
        host = parse(url).origin.host
    except InvalidUrl:  # which each attempt tells
        return
    why = _why_refused(network, host)
    if why is not None:
        _log.warning(
            "destination not allowed", extra={"destination": without_credentials(url), "why": why}
        )


@lru_cache(maxsize=256)  # a thousand triggers often have one host
def _why_refused(network: Network, host: str) -> str | None:
    address = literal(host)
    return None if address is None else refusal(network, host, str(address))
