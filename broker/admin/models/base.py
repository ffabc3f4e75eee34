"""What the documents of the admin API have in common.

Names are camelCase on the wire, times RFC 3339. A field that is None is sent as ``null``.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from msgspec import Struct

USER_HEADER: Final = "x-cemesh-user"
"""In which the command line says who runs it, percent-encoded: LOGIN@HOST."""


class Document(Struct, frozen=True, kw_only=True, rename="camel"):
    """What all of them share; `frozen` and `kw_only` are repeated where mypy needs them."""


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """An error (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


def told(body: bytes) -> tuple[str, str | None]:
    """Return bytes as base64, and as text where they are UTF-8."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    return b64encode(body).decode(), text
