"""Certificates and private keys in PEM: what is wrong with them, and TLS by them."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_BASE64: Final = "LS0tLS1CRUdJTi"  # of "-----BEGIN"
# OpenSSL's reasons, the last one where the key is of another algorithm than the certificate's.
_NO_PAIR: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_VERSION, _UTC_TIME = 0xA0, 0x17


class _EncryptedError(Exception):
    """The private key is of no use without a password."""


@lru_cache(maxsize=64)
def certificates_fault(pem: str) -> str | None:
    """Return why no certificates can be read from the text, or None."""
    # Often the same in every broker, and milliseconds of reading; so is a pair.
    try:
        _new_context().load_verify_locations(cadata=_ascii(pem))
    except (ssl.SSLError, ValueError):
        return f"holds no certificates in PEM format{_hint(pem)}"
    return None


@lru_cache(maxsize=64)
def pair_fault(certificate: str, key: str, *, names: tuple[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with a certificate, which can be read, and its private key, or None.

    ``names`` are those of their files, or their keys in the Secret; the first part is the one that
    it is wrong with.
    """
    of_certificate, of_key = names
    try:
        _load_pair(_new_context(), certificate, key)
    except _EncryptedError:
        return of_key, "is encrypted; store what `openssl pkey -in FILE` makes of it"
    except ssl.SSLError as error:
        if error.reason in _NO_PAIR:
            return of_key, f"does not belong to the certificate in '{of_certificate}'"
        if not error.reason:
            return of_key, f"holds no private key in PEM format{_hint(key)}"
        return of_certificate, f"is refused by OpenSSL: {error.reason}"
    return None


def expiries(pem: str) -> list[datetime]:
    """Return until when each of the certificates is valid, those that do not say it left out."""
    found = []
    for each in _CERTIFICATE.findall(_ascii(pem)):
        with suppress(ValueError, IndexError):  # OpenSSL has read it, but it looks at no times
            found.append(_expiry(ssl.PEM_cert_to_DER_cert(each)))
    return found


def serial(pem: str) -> str | None:
    """Return the serial number of the first certificate, as `openssl x509 -serial` prints it."""
    first = _CERTIFICATE.search(_ascii(pem))
    if first is None:
        return None
    try:
        return _serial(ssl.PEM_cert_to_DER_cert(first[0]))
    except (ValueError, IndexError):  # as of `expiries`
        return None


@dataclass(slots=True, unsafe_hash=True)
class CaFile:
    """A file of certificate authorities in PEM, which is read again when it has changed.

    ``pem`` is the text that was good last. Making one reads the file, and raises ValueError where
    it is none.
    """

    path: Path
    pem: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.pem = self._read()

    def read_again(self) -> bool:
        """Read it again, and return whether it is another text. Raises ValueError as before."""
        former, self.pem = self.pem, self._read()
        return self.pem != former

    def _read(self) -> str:
        pem = read_pem(self.path)
        fault = certificates_fault(pem)
        if fault is not None:
            raise ValueError(f"{self.path} {fault}")
        return pem


def read_pem(path: Path) -> str:
    """Return the text of that file; raise ValueError saying why it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def server_context(
    certificate: str, key: str, clients: str | None, *, demand: bool
) -> ssl.SSLContext:
    """Return a context for what accepts connections and speaks HTTP/1.1; nothing may have a fault.

    ``clients`` are the authorities of clients in PEM. Where there are any, a client is asked for a
    certificate, and the handshake fails by one that none of them vouches for; by none at all, if
    that is a ``demand``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, certificate, key)
    if clients is not None:
        context.load_verify_locations(cadata=_ascii(clients))
        context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_OPTIONAL
    return context


@lru_cache(maxsize=256)
def tls_context(ca_certs: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Return a context that checks the server's name and certificate.

    It trusts the authorities of the PEM text ``ca_certs`` and no others, or the system's where
    that is None, and shows ``certificate`` where there is one. Nothing of it may have a fault.
    Reading the system's authorities takes 0.1 s, so contexts are kept.
    """
    context = _new_context()
    if ca_certs is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=_ascii(ca_certs))
    if certificate is not None and key is not None:
        _load_pair(context, certificate, key)
    return context


def _new_context() -> ssl.SSLContext:
    # From Python 3.13 on, `create_default_context` refuses authorities that lack the newer
    # extensions. Many private ones do, and the clients of other languages take them.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    with _file(certificate) as certificate_path, _file(key) as key_path:
        context.load_cert_chain(certificate_path, key_path, password=_no_password)


def _no_password() -> str:
    # Asked for none, OpenSSL would ask the terminal.
    raise _EncryptedError


@contextmanager
def _file(pem: str) -> Iterator[str]:
    """Yield the path of a file with that text: `ssl` loads a private key from nothing else."""
    if hasattr(os, "memfd_create"):
        # In memory: no disk has to be writable, and no crash leaves a private key on it.
        with os.fdopen(os.memfd_create("pem"), "w") as file:
            file.write(_ascii(pem))
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(_ascii(pem))
            file.flush()
            yield file.name


def _ascii(pem: str) -> str:
    """Return the text as OpenSSL takes it. Comments between the blocks are not always ASCII."""
    return pem.encode("ascii", "replace").decode("ascii")


def _hint(pem: str) -> str:
    return ", but the base64 of it: was it encoded twice?" if pem.startswith(_BASE64) else ""


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
