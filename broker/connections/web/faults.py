"""What a web server answers instead of what it was asked for, in words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_HINTS: Final = {
    401: "; are 'auth' and 'headers' those that it knows?",
    403: "; may whom 'auth' or 'headers' say do that?",
    404: "; is the path in 'url' right?",
}


def phrase(status: int) -> str:
    """Return the status with its name, and a hint where one helps: ``404 Not Found; …``."""
    try:
        told = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        told = str(status)
    return f"it answers {told}{_HINTS.get(status, '')}"
