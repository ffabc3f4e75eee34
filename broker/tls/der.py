"""What stands in certificates: their serial numbers, and until when they are valid."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_VERSION, _UTC_TIME = 0xA0, 0x17


def expiries(pem: str) -> list[datetime]:
    """Return until when each of the certificates is valid, those that do not say it left out."""
    found = []
    for each in _CERTIFICATE.findall(ascii_of(pem)):
        with suppress(ValueError, IndexError):  # OpenSSL has read it, but it looks at no times
            found.append(_expiry(ssl.PEM_cert_to_DER_cert(each)))
    return found


def serial(pem: str) -> str | None:
    """Return the serial number of the first certificate, as `openssl x509 -serial` prints it."""
    try:
        return _serial(ssl.PEM_cert_to_DER_cert(first(pem)))
    except (ValueError, IndexError):  # as of `expiries`
        return None


def first(pem: str) -> str:
    """Return the first certificate of the text, empty where there is none."""
    found = _CERTIFICATE.search(ascii_of(pem))
    return found[0] if found else ""


def ascii_of(pem: str) -> str:
    """Return the text as OpenSSL takes it. Comments between the blocks are not always ASCII."""
    return pem.encode("ascii", "replace").decode("ascii")


def _expiry(certificate: bytes) -> datetime:
    """Return the notAfter of a certificate in DER."""
    _, _, _, (_, validity), *_ = _fields(certificate)
    _, (kind, time) = _elements(validity)
    text = time.decode("ascii")
    if kind == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _serial(certificate: bytes) -> str:
    (_, number), *_ = _fields(certificate)
    return (number.lstrip(b"\0") or b"\0").hex().upper()


def _fields(certificate: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what is signed of a certificate in DER, without its version (RFC 5280, section 4.1)."""
    ((_, signed),) = _elements(certificate)
    (_, to_be_signed), *_ = _elements(signed)
    return (each for each in _elements(to_be_signed) if each[0] != _VERSION)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each DER element in ``data`` (X.690, section 8.1)."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length > 0x7F:
            octets = length & 0x7F
            length = int.from_bytes(data[at : at + octets], "big")
            at += octets
        yield tag, data[at : at + length]
        at += length
