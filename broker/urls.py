"""URLs as they may be told: in logs, errors, announcements and the API."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

_HIDDEN: Final = "…"


def without_credentials(url: str) -> str:
    """Return the URL without a user name and a password, and without what its query says.

    Some receivers tell who may send by a parameter. That there is a query is shown.
    """
    told, question, _ = url.partition("?")
    authority = urlsplit(told).netloc
    if "@" in authority:
        told = told.replace(authority, authority.rpartition("@")[2], 1)
    return f"{told}?{_HIDDEN}" if question else told
