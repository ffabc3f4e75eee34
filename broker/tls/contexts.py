"""Certificates and private keys in PEM: what is wrong with them, and TLS by them."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from broker.tls.der import ascii_of, first

_BASE64: Final = "LS0tLS1CRUdJTi"  # of "-----BEGIN"
# OpenSSL's reasons, the last one where the key is of another algorithm than the certificate's.
_NO_PAIR: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


class _EncryptedError(Exception):
    """The private key is of no use without a password."""


@lru_cache(maxsize=64)
def certificates_fault(pem: str) -> str | None:
    """Return why no certificates can be read from the text, or None."""
    # Often the same in every broker, and milliseconds of reading; so is a pair.
    try:
        _new_context().load_verify_locations(cadata=ascii_of(pem))
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
        context.load_verify_locations(cadata=ascii_of(clients))
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
        context.load_verify_locations(cadata=ascii_of(ca_certs))
    if certificate is not None and key is not None:
        _load_pair(context, certificate, key)
    return context


def pinned_context(server: str, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Return a context that takes the first certificate of ``server``, and no other.

    The name in it is of no interest: who has its key is who is meant.
    """
    context = _new_context()
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=first(server))
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
            file.write(ascii_of(pem))
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(ascii_of(pem))
            file.flush()
            yield file.name


def _hint(pem: str) -> str:
    return ", but the base64 of it: was it encoded twice?" if pem.startswith(_BASE64) else ""
