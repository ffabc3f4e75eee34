"""Asks a subscriber whether events may be sent to it (WebHook 1.0.2, section 4)."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from datetime import timedelta
from typing import Final

from broker.callbacks import Callbacks
from broker.errors import CemeshError
from broker.policy import Consent
from broker.urls import without_credentials
from sinks.http.address import Route
from sinks.http.answers import phrase, retry_after
from sinks.http.client import HttpClient
from sinks.http.grants import Grant, Grants, NotGranted, Start, now
from sinks.http.reader import NoAnswer, Response

ORIGIN_HEADER: Final = b"WebHook-Request-Origin"

_TIMEOUT: Final = timedelta(seconds=10)

_LASTS: Final = timedelta(hours=30)
"""How long consent is relied on. It is asked for again when four fifths of it, a day, are over."""

_CALM: Final = timedelta(seconds=5)
_CALMEST: Final = timedelta(minutes=5)
"""What is waited, at first and at most, before somebody who does not consent is asked again."""

_RATE: Final = re.compile(rb"[0-9]{1,18}")
_ANY: Final = b"*"
_MINUTE: Final = 60.0
_FASTEST: Final = 10**6
"""Requests in a minute above which a rate binds nobody, and is not counted."""


class Pace:
    """Keeps to so many requests in any one minute, or to none where ``per_minute`` is None."""

    def __init__(self) -> None:
        self.per_minute: int | None = None
        self._turns: deque[float] = deque()

    async def turn(self, within: timedelta) -> None:
        """Return when it is this request's turn. Raises `NotGranted` if that is not ``within``."""
        if self.per_minute is None:
            return
        at = now()
        while self._turns and self._turns[0] <= at - _MINUTE:
            self._turns.popleft()
        ahead = len(self._turns) - self.per_minute
        turn = at if ahead < 0 else self._turns[ahead] + _MINUTE
        wait = timedelta(seconds=turn - at)
        if wait > within:
            reason = f"the rate that the subscriber allows, {self.per_minute} a minute, is used up"
            raise NotGranted(reason, wait)
        self._turns.append(turn)
        if wait:
            await asyncio.sleep(wait.total_seconds())


class Consents(Grants[Pace]):
    """Asks the subscriber for its consent, or is given it by callback (section 4.1.3)."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        consent: Consent,
        route: Route,
        start: Start,
        callbacks: Callbacks | None,
    ) -> None:
        """Connect to nothing yet. Raises a `CemeshError` where nobody could call back."""
        self._subscriber = _Subscriber(client, url, consent, route)
        whose = without_credentials(url)
        super().__init__(
            "waiting for the subscriber's consent",
            whose,
            self._subscriber.ask,
            start,
            pause=_CALM,
            longest_pause=_CALMEST,
            glance=_CALM if consent.callback else timedelta.max,
        )
        if consent.callback is not None:
            if callbacks is None:
                raise CemeshError(
                    f"{whose} is to consent by callback, which takes a process that both takes "
                    "events and delivers them: `cemesh run`"
                )
            self._subscriber.call_back_at(consent.callback + callbacks.expect(self))

    def take(self, allowed_rate: bytes | None) -> str | None:
        """See `broker.callbacks.Consenting`."""
        try:
            self.give(self._subscriber.consented(allowed_rate))
        except NotGranted as error:
            return error.reason
        return None


class _Subscriber:
    """Whom to ask. What it allows it allows to all that is sent, so there is one pace."""

    def __init__(self, client: HttpClient, url: str, consent: Consent, route: Route) -> None:
        self._client = client
        self._url = url
        self._route = route
        self._origin = consent.origin.encode("ascii")
        self._headers = [(ORIGIN_HEADER, self._origin)]
        if consent.rate is not None:
            self._headers.append((b"WebHook-Request-Rate", b"%d" % consent.rate))
        self._pace = Pace()

    def call_back_at(self, url: str) -> None:
        """Tell the subscriber so when it is asked."""
        self._headers.append((b"WebHook-Request-Callback", url.encode("ascii")))

    async def ask(self) -> Grant[Pace]:
        """Return the pace that the subscriber consents to. Raises `NotGranted` or `InvalidUrl`.

        What counts is not the status but ``WebHook-Allowed-Origin`` (section 4.2).
        """
        try:
            response = await self._client.request(
                "OPTIONS", self._url, self._headers, timeout=_TIMEOUT, route=self._route
            )
        except NoAnswer as error:
            raise NotGranted(f"the subscriber was asked for consent: {error.reason}") from None
        self._check_origin(response)
        return self.consented(response.header(b"webhook-allowed-rate"))

    def consented(self, allowed_rate: bytes | None) -> Grant[Pace]:
        """Return the pace, which is at that rate from now on. Raises `NotGranted` if it is none."""
        self._pace.per_minute = _per_minute(allowed_rate)
        return Grant(value=self._pace, lasts=_LASTS)

    def _check_origin(self, response: Response) -> None:
        allowed = response.header(b"webhook-allowed-origin")
        # DNS names are the same in upper case.
        if allowed == _ANY or (allowed and allowed.lower() == self._origin.lower()):
            return
        how = "no WebHook-Allowed-Origin" if allowed is None else "another WebHook-Allowed-Origin"
        raise NotGranted(
            f"the subscriber does not consent: it answered OPTIONS with {phrase(response.status)} "
            f"and {how}",
            retry_after(response),
        )


def _per_minute(allowed: bytes | None) -> int | None:
    if allowed is None or allowed == _ANY:
        return None
    rate = int(allowed) if _RATE.fullmatch(allowed) else 0
    if not rate:
        raise NotGranted(
            "the subscriber consents, but its WebHook-Allowed-Rate is neither * nor a "
            "positive whole number"
        )
    return None if rate > _FASTEST else rate
