"""Delivers events over HTTP, as Knative's brokers do (CloudEvents HTTP binding 1.0.2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, NamedTuple

from broker.codecs import http as codec
from broker.event import Event
from broker.policy import Timeouts
from broker.ports import Answer, Refused, SinkOptions, Told
from sinks.http.address import Address, InvalidUrl, Route, parse
from sinks.http.answers import answer_of
from sinks.http.client import HttpClient, begun_head
from sinks.http.consent import ORIGIN_HEADER, Consents, Pace
from sinks.http.credentials import headers_of, secrets_of
from sinks.http.grants import NotGranted
from sinks.http.oauth2 import Tokens
from sinks.http.prompt import Came, Prompt
from sinks.http.reader import NoAnswer, Response
from sinks.http.signing import Signer
from sinks.http.tracing import trace_headers, trace_lines, traceparent

_USER_AGENT: Final = b"cemesh/" + version("cemesh").encode("ascii")

Header = tuple[bytes, bytes]
Headers = list[Header]

Later = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """What has to be granted before anything is sent."""

    consent: Consents | None
    tokens: Tokens | None


class _Request(NamedTuple):
    """What is sent but for what is only known when it is: the token, and the signature."""

    events: Sequence[Event]
    headers: Headers
    body: bytes


class HttpSink:
    """One URL to POST events to."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        route: Route,
        options: SinkOptions,
        leave: Leave | None,
    ) -> None:
        self._client = client
        self._url = url
        self._route = route
        self._timeout = options.timeout
        self._timeouts = None if options.timeouts == Timeouts() else options.timeouts
        self._mode = options.content_mode
        self._signer = None if options.signing is None else Signer(options.signing)
        self._secrets = secrets_of(options.credentials)
        self._leave = leave
        self._headers = [
            (b"User-Agent", _USER_AGENT),
            (b"Prefer", b"reply"),
            (b"Kn-Namespace", options.namespace.encode("ascii")),
            *headers_of(options.credentials),
        ]
        if options.consent is not None:
            self._headers.append((ORIGIN_HEADER, options.consent.origin.encode("ascii")))
        self._begun: bytes | None = None  # the head of every request, as far as that

    def begin(self, event: Event, done: Callable[[Told], None]) -> Prompt | None:
        """See `broker.ports.PromptSink`. Nothing has to be granted, or timed in part, for that."""
        if self._leave is not None or self._timeouts is not None:
            return None
        try:
            address = parse(self._url, self._route)
        except InvalidUrl:
            return None
        if not self._client.has_one_at_rest(address.origin):
            return None
        if self._begun is None:
            self._begun = begun_head("POST", address, self._headers)
        lines, body = codec.encode_lines(event, self._mode)
        if self._signer is not None:
            lines += codec.written(self._signer.headers([event], body, time.time()))
        head = b"%s%s%s\r\nContent-Length: %d\r\n\r\n" % (
            *(self._begun, trace_lines(event), lines, len(body)),
        )
        began = asyncio.get_running_loop().time()
        anew = partial(self._send_anew, address, head, body, began)
        return self._client.begin(
            address, head, body, self._timeout, partial(self._told, done, anew)
        )

    def _told(self, done: Callable[[Told], None], anew: Later, response: Came) -> None:
        match response:
            case None:
                done(anew)
            case NoAnswer(reason=reason):
                done(Refused(reason=reason))
            case _:
                try:
                    answer = answer_of(response, self._secrets)
                except Exception as error:  # noqa: BLE001 - nobody else would hear of it
                    done(partial(_fail, error))
                else:
                    done(answer)

    async def _send_anew(self, address: Address, head: bytes, body: bytes, began: float) -> Answer:
        try:
            response = await self._client.send_anew(address, head, body, self._timeout, began=began)
        except NoAnswer as error:
            return Refused(reason=error.reason)
        return answer_of(response, self._secrets)

    async def attempt(self, event: Event) -> Answer:
        headers, body = codec.encode(event, self._mode)
        return await self._attempt([event], [*trace_headers(event), *headers], body)

    async def attempt_together(self, events: Sequence[Event]) -> Answer:
        """See `broker.ports.BatchSink`. Of no known span, the batch begins a trace of its own."""
        headers, body = codec.encode_batch(events)
        first = events[0]
        trace = (
            [(b"traceparent", traceparent(None))] if first.trace is None else trace_headers(first)
        )
        return await self._attempt(events, [*trace, *headers], body)

    async def _attempt(self, events: Sequence[Event], encoded: Headers, body: bytes) -> Answer:
        request = _Request(events, [*self._headers, *encoded], body)
        try:
            if self._leave is not None:
                return await self._attempt_with_leave(self._leave, request)
            return answer_of(await self._post(request, self._timeout), self._secrets)
        except NoAnswer as error:
            return Refused(reason=error.reason)
        except NotGranted as error:
            return Refused(reason=error.reason, retry_after=error.retry_after, untried=True)
        except InvalidUrl as error:
            return Refused(reason=str(error), permanent=True)

    async def _attempt_with_leave(self, leave: Leave, request: _Request) -> Answer:
        deadline = _Deadline(self._timeout)
        pace = None if leave.consent is None else await leave.consent.granted(deadline.left())
        if leave.tokens is None:
            return answer_of(await self._post_in_turn(pace, request, deadline), self._secrets)
        token = leave.tokens.current()
        is_new = token is None
        if token is None:
            token = await leave.tokens.granted(deadline.left())
        response = await self._post_in_turn(pace, request, deadline, _by(token))
        if response.status == HTTPStatus.UNAUTHORIZED and not is_new:
            try:
                newer = await leave.tokens.instead_of(token, deadline.left())
                if newer is not None and newer != token:
                    token = newer
                    response = await self._post_in_turn(pace, request, deadline, _by(token))
            except NotGranted as error:
                # Something was sent, so this was an attempt.
                return Refused(reason=error.reason, retry_after=error.retry_after)
        return answer_of(response, self._secrets | {token.partition(b" ")[2]})

    async def _post_in_turn(
        self, pace: Pace | None, request: _Request, deadline: _Deadline, *more: Header
    ) -> Response:
        if pace is not None:
            # Half of what is left is the subscriber's, to answer in.
            await pace.turn(deadline.left() / 2)
        return await self._post(request, deadline.left(), *more)

    async def _post(self, request: _Request, within: timedelta, *more: Header) -> Response:
        headers = [*request.headers, *more]
        if self._signer is not None:  # now: receivers refuse what was signed minutes ago
            headers += self._signer.headers(request.events, request.body, time.time())
        return await self._client.request(
            "POST",
            self._url,
            headers,
            request.body,
            timeout=within,
            timeouts=self._timeouts,
            route=self._route,
        )


async def _fail(error: Exception) -> Answer:
    raise error


def _by(token: bytes) -> Header:
    return b"Authorization", token


class _Deadline:
    """When an attempt is over, whatever it waits for."""

    def __init__(self, within: timedelta) -> None:
        self._within = within
        self._began = time.monotonic()

    def left(self) -> timedelta:
        """Return what is left, in tenths of a second where some is gone: it is told as a reason."""
        gone = int((time.monotonic() - self._began) * 10) / 10
        return max(timedelta(0), self._within - timedelta(seconds=gone))
