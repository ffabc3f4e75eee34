"""Whom HTTPS trusts, and what it shows of itself."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from tempfile import NamedTemporaryFile

from broker.policy import ClientCertificate
from sinks.http.reader import NoAnswer


@lru_cache(maxsize=256)
def tls_context(
    *ca_certs: str | None, certificate: ClientCertificate | None = None
) -> ssl.SSLContext:
    """Return a context that checks the server's name and certificate.

    It trusts the system's authorities and those of each of the PEM texts ``ca_certs``, and shows
    ``certificate`` to a server that asks for one. Raises `NoAnswer` if any of them cannot be
    read. Reading the system's takes tens of milliseconds, so contexts are kept.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    for text in filter(None, ca_certs):
        try:
            _trust(context, text)
        except (ssl.SSLError, ValueError) as error:
            raise NoAnswer(f"the CA certificates to trust cannot be read: {error}") from None
    if certificate is not None:
        fault = _show(context, certificate)
        if fault is not None:
            raise NoAnswer(fault)
    return context


def _trust(context: ssl.SSLContext, ca_certs: str) -> None:
    # Bundles carry comments between the certificates, and not always in ASCII.
    context.load_verify_locations(cadata=ca_certs.encode("ascii", "replace").decode("ascii"))


def certificate_fault(certificate: ClientCertificate) -> str | None:
    """Return what is wrong with a client certificate and its key, without showing them."""
    return _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)


def _show(context: ssl.SSLContext, certificate: ClientCertificate) -> str | None:
    pem = f"{certificate.key}\n{certificate.certificate}\n".encode()
    try:
        with _file_of(pem) as path:
            # Without a password OpenSSL asks for one on the terminal.
            context.load_cert_chain(path, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = "they do not belong together"
        elif "ENCRYPTED" in certificate.key:
            why = "the key is encrypted"
        else:
            why = _words(error.reason) or "they are not both in PEM"
        return f"the client certificate and its key cannot be used: {why}"
    return None


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """Make a file that nobody else can read: OpenSSL loads keys from files alone."""
    if hasattr(os, "memfd_create"):  # Linux: it is never on a disk
        descriptor = os.memfd_create("cemesh-client-certificate")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def tls_failure(error: ssl.SSLError) -> str:
    """Say in plain words why TLS failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate is not trusted: {error.verify_message}"
    return f"TLS failed: {_words(error.reason) or error}"


def _words(reason: str | None) -> str:
    return (reason or "").lower().replace("_", " ")
