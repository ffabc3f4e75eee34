"""Sends a request for each event, and tells what was answered."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

from broker.event import Event
from broker.ports import Answer, Refused, SinkContext
from sinks.http.address import Route, parse
from sinks.http.answers import answer_of
from sinks.http.client import HttpClient
from sinks.http.reader import NoAnswer
from sinks.http.tracing import trace_headers
from sinks.webhook.payload import Lacking
from sinks.webhook.spec import WebhookSinkSpec

_USER_AGENT: Final = b"cemesh/" + version("cemesh").encode("ascii")

_AS_LONG_AS_THE_TRIGGER_WAITS: Final = timedelta(days=1)

_SHORTEST: Final = 4
"""Bytes of a secret that is hidden in an answer: what is shorter is in any text by chance."""


class WebhookSink:
    """Sends a request made of a template for each event; accepted is what is answered 2xx."""

    def __init__(self, spec: WebhookSinkSpec, context: SinkContext) -> None:
        self._spec = spec
        self._url = spec.url.get_secret_value()
        self._route = Route(network=context.network)
        values = {name: each.get_secret_value() for name, each in spec.headers.items()}
        self._headers = [
            (b"User-Agent", _USER_AGENT),
            (b"Content-Type", spec.media_type.encode("ascii")),
            *((name.encode("ascii"), value.encode()) for name, value in values.items()),
        ]
        # A chat's URL is all that it takes to write there: an answer may repeat it, or its path.
        secrets = {self._url.encode(), parse(self._url).target, *map(str.encode, values.values())}
        self._secrets = frozenset(each for each in secrets if len(each) >= _SHORTEST)
        self._client = HttpClient()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def attempt(self, event: Event) -> Answer:
        """Return what was answered, as it is judged of any subscriber over HTTP."""
        try:
            body = self._spec.body(event)
        except Lacking as error:
            return Refused(reason=f"the template cannot be filled: {error}", permanent=True)
        except UnicodeEncodeError:
            reason = "the template cannot be filled: a text of the payload has half of a pair in it"
            return Refused(reason=reason, permanent=True)
        try:
            response = await self._client.request(
                self._spec.method,
                self._url,
                [*self._headers, *trace_headers(event)],
                body,
                timeout=_AS_LONG_AS_THE_TRIGGER_WAITS,
                route=self._route,
            )
        except NoAnswer as error:
            return Refused(reason=error.reason)
        return answer_of(response, self._secrets)
