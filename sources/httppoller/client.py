"""Asks the server: who asks, through its redirects, and which page comes next."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from yarl import URL

from broker.connections.faults import said
from broker.errors import UpstreamUnavailable
from broker.urls import without_credentials
from sources.httppoller.exchange import NoAnswer, Response, get
from sources.httppoller.spec import HttpPollerSpec

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5

_ALWAYS: Final = (("Accept", "*/*"), ("User-Agent", "cemesh"), ("Accept-Encoding", "identity"))

_PARAMETER: Final = r';\s*([^\s"=;,]+)(?:\s*=\s*(?:"([^"]*)"|([^\s";,]+)))?\s*'
_PARAMETERS: Final = re.compile(_PARAMETER)
_LINK: Final = re.compile(rf"<(?P<target>[^<>]*)>\s*(?P<parameters>(?:{_PARAMETER})*)")
_SECONDS: Final = re.compile("[0-9]{1,9}")


class Client:
    """Asks what the spec says. Credentials go to the server of its ``url`` and to no other."""

    def __init__(self, spec: HttpPollerSpec) -> None:
        self._spec = spec
        self.url = URL(spec.url)

    async def get(self, url: URL, conditions: Sequence[tuple[str, str]] = ()) -> Response:
        """Return what the server answers, or the one that it redirects to.

        Raises `UpstreamUnavailable`, with the address and why there is no answer.
        """
        try:
            async with asyncio.timeout(self._spec.timeout.total_seconds()):
                for _ in range(_MOST_REDIRECTS + 1):
                    response = await self._asked(url, conditions)
                    location = response.header("location")
                    if response.status not in _REDIRECTS or location is None:
                        return response
                    url = _joined(url, location)
            raise NoAnswer(f"it redirects more than {_MOST_REDIRECTS} times")
        except (NoAnswer, OSError) as error:
            raise unusable(url, said(error)) from error

    async def _asked(self, url: URL, conditions: Sequence[tuple[str, str]]) -> Response:
        ours = url.origin() == self.url.origin()
        tls = None
        if url.scheme == "https":
            tls = await asyncio.to_thread(self._spec.tls_context, ours=ours)
        headers = dict(_ALWAYS)
        if ours:
            given = dict(self._spec.said_headers())
            known = {name.lower() for name in given}
            headers = {name: text for name, text in _ALWAYS if name.lower() not in known} | given
        return await get(
            url, [*headers.items(), *conditions], tls=tls, at_most=self._spec.max_body_bytes
        )


def unusable(url: URL, why: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(f"{without_credentials(str(url))} cannot be used: {why}")


def next_page(response: Response) -> URL | None:
    """Return where the response says that the next page is (RFC 8288), or None.

    Raises `UpstreamUnavailable` where that can be no page.
    """
    for name, value in response.headers:
        if name != b"link":
            continue
        for link in _LINK.finditer(value.decode("latin-1")):
            if "next" in _relations(link["parameters"]):
                try:
                    return _joined(response.url, link["target"])
                except NoAnswer as error:
                    raise unusable(response.url, str(error)) from error
    return None


def _relations(parameters: str) -> list[str]:
    for name, quoted, bare in _PARAMETERS.findall(parameters):
        if name.lower() == "rel":  # the first counts (RFC 8288, section 3.3)
            return str(quoted or bare).lower().split()
    return []


def retry_after(response: Response) -> timedelta | None:
    """Return how long the response asks to wait: seconds, or a date (RFC 9110, section 10.2.3)."""
    value = response.header("retry-after") or ""
    if _SECONDS.fullmatch(value):
        return timedelta(seconds=int(value))
    moment = date_of(value)
    return None if moment is None else max(moment - datetime.now(UTC), timedelta(0))


def date_of(text: str) -> datetime | None:
    """Return the time that an HTTP date says, or None where it is none."""
    with suppress(ValueError, IndexError, OverflowError):
        date = parsedate_to_datetime(text)
        return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return None


def _joined(url: URL, reference: str) -> URL:
    try:
        found = url.join(URL(reference)).with_fragment(None)
        if found.scheme in ("http", "https") and found.host and found.port:
            return found
    except ValueError:  # of yarl, about parts of it
        pass
    raise NoAnswer("it leads to what is no URL of HTTP")
