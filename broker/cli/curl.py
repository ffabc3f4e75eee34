"""Requests, given as curl takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import click

from broker.codecs.http import Headers

_FORM: Final = (b"content-type", b"application/x-www-form-urlencoded")


def request(headers: Sequence[str], data: Sequence[str]) -> tuple[Headers, bytes]:
    """Return the headers, their names in lower case, and the body that curl would send.

    ``headers`` are its ``-H`` and ``data`` its ``-d``. Like curl, take data without a
    Content-Type for that of a form: the broker that gets this request does so too.
    """
    sent = [header for text in headers for header in _header(text)]
    if data and not any(text.lower().startswith("content-type:") for text in headers):
        sent.append(_FORM)
    return sent, b"&".join(map(_body, data))


def _header(text: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the header: none for ``Name:``, which tells curl to leave it out."""
    name, colon, value = text.partition(":")
    if not name.strip() or not colon:
        raise click.BadParameter(f"'{text}' is not of the form NAME: VALUE", param_hint="--header")
    if value.strip():
        yield _encoded(name.strip().lower()), _encoded(value.strip())


def _body(text: str) -> bytes:
    if not text.startswith("@"):
        return _encoded(text)
    try:
        with click.open_file(text[1:], "rb") as file:
            content: bytes = file.read()
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.BadParameter(f"'{text[1:]}': {reason}", param_hint="--data") from None
    # As curl does, for which the end of the file's last line is not data.
    return content.translate(None, b"\r\n\0")


def _encoded(text: str) -> bytes:
    # What came in as bytes that are not UTF-8 goes out as the same bytes.
    return text.encode(errors="surrogateescape")
