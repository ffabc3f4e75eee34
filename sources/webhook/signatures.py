"""What all ways to sign a webhook have in common."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from broker.ports import HttpRequest

Verify = Callable[[HttpRequest, float], None]
"""Raise `Unverified` unless the request proves who sent it, at that time (seconds since 1970)."""

_SECONDS: Final = re.compile("[0-9]{1,12}", re.ASCII)


class Unverified(Exception):
    """The request does not prove who sent it.

    The text is for whoever sent it, so it tells nothing that they could sign with.
    """


def required(request: HttpRequest, header: str) -> str:
    """Return the value of that header. Raises `Unverified` where it is missing or empty."""
    value = request.header(header.lower())
    if not value:
        raise Unverified(f"the header {header} is missing")
    return value


def same(given: str, expected: str) -> bool:
    """Return whether both are the same, in a time that does not tell how much of them is.

    ``given`` is of a header, whose bytes stand in it as Latin-1.
    """
    return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode())


def check_match(header: str, given: Iterable[str], expected: Iterable[str]) -> None:
    """Raise `Unverified` unless one of the signatures in that header is an expected one.

    There is an expected one for each secret, so that receivers can go from one to another.
    """
    shown = list(given)
    if not any(same(one, each) for each in expected for one in shown):
        raise Unverified(f"the signature in {header} does not match, or is by another secret")


def seconds_of(text: str, header: str) -> int:
    """Return the time that a header tells in seconds. Raises `Unverified` where it does not."""
    if not _SECONDS.fullmatch(text):
        raise Unverified(f"the time in {header} is no number of seconds since 1970")
    return int(text)


def check_age(text: str, header: str, *, now: float, tolerance: timedelta) -> None:
    """Raise `Unverified` unless that time is close to now: what was signed long ago is replayed.

    A time in the future is as wrong, as it would be good for longer.
    """
    away = abs(now - seconds_of(text, header))
    if away > tolerance.total_seconds():
        raise Unverified(
            f"the time in {header} is {away:.0f} s from now, and may be "
            f"{tolerance.total_seconds():.0f} s"
        )
