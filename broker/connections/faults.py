"""Why a server cannot be used, in words: what the network and TLS tell, alike for all systems."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

# X509_V_ERR_…: self-signed, alone or in the chain, and an issuer that is not at hand.
_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})


def said(
    error: BaseException,
    *,
    authority: str | None = "'tls.caCert'",
    certificate: str | None = "'tls.cert'",
) -> str:
    """Return in words what the network or TLS told, and where to look, if that is known.

    ``authority`` and ``certificate`` are where it is said whom we trust, and who we are; None where
    that is not known, or cannot be said.
    """
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLError():
            return f"TLS: {_of_tls(error, authority, certificate)}"
        case socket.gaierror():
            return f"its host name is not known: {error.strerror}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
    return str(error) or type(error).__name__


def _of_tls(error: ssl.SSLError, authority: str | None, certificate: str | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        told = error.verify_message
        if authority is None or error.verify_code not in _UNKNOWN_AUTHORITY:
            return told
        return f"{told}; does {authority} have the authority of its certificate?"
    reason = error.reason or str(error)
    if "_ALERT_" not in reason:
        return f"{reason}; does it speak TLS at that port?"
    if certificate is None or "CERT" not in reason:
        return reason
    return f"{reason}; is {certificate} a certificate that it accepts?"
