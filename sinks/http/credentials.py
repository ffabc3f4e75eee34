"""What proves to a subscriber who sends, as headers; and what of it must never be told."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from typing import Final

from broker.policy import Credentials

Headers = list[tuple[bytes, bytes]]

HIDDEN: Final = b"***"
"""Stands where a subscriber's answer repeats what is secret."""

_SHORTEST: Final = 4
"""Bytes of a secret that is looked for: what is shorter is in any text by chance."""


def headers_of(credentials: Credentials) -> Headers:
    """Return the headers that are the same in every request."""
    headers = [
        (name.encode("ascii"), value.encode()) for name, value in credentials.headers.items()
    ]
    if credentials.basic is not None:
        headers.append((b"Authorization", b"Basic " + credentials.basic.encode("ascii")))
    if credentials.bearer is not None:
        headers.append((b"Authorization", b"Bearer " + credentials.bearer.encode("ascii")))
    return headers


def secrets_of(credentials: Credentials) -> frozenset[bytes]:
    """Return what no dead letter may tell, should a subscriber's answer repeat it."""
    secrets = {value.encode() for value in credentials.headers.values()}
    if credentials.basic is not None:
        password = b64decode(credentials.basic).partition(b":")[2]
        secrets |= {credentials.basic.encode("ascii"), password}
    if credentials.bearer is not None:
        secrets.add(credentials.bearer.encode("ascii"))
    return frozenset(each for each in secrets if len(each) >= _SHORTEST)


def hidden(text: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return the text with `HIDDEN` for each of the secrets."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, HIDDEN)
    return text
