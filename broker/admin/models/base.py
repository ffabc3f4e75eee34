"""What the documents of the admin API have in common.

Names are camelCase on the wire, times RFC 3339. A field that is None is sent as ``null``.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct


class Document(Struct, frozen=True, kw_only=True, rename="camel"):
    """What all of them share; `frozen` and `kw_only` are repeated where mypy needs them."""


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """An error (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


def without_credentials(url: str) -> str:
    """Return the URL without a user name and a password, where it holds them."""
    authority = urlsplit(url).netloc
    return url.replace(authority, authority.rpartition("@")[2], 1) if "@" in authority else url
