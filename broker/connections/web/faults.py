"""Why a web server cannot be used, in words."""

from __future__ import annotations

import os
import socket
import ssl
from http import HTTPStatus
from typing import Final

_HINTS: Final = {
    401: "; are 'auth' and 'headers' those that it knows?",
    403: "; may whom 'auth' or 'headers' say do that?",
    404: "; is the path in 'url' right?",
}


def said(error: BaseException) -> str:
    """Return in words what the network told, and where to look, if that is known."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"TLS: {error.verify_message}; is its authority in 'tls.caCert'?"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}; does 'url' say rightly that it speaks TLS?"
        case socket.gaierror():
            return f"its name is not known: {error.strerror}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
    return str(error) or type(error).__name__


def phrase(status: int) -> str:
    """Return the status with its name, and a hint where one helps: ``404 Not Found; …``."""
    try:
        told = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        told = str(status)
    return f"it answers {told}{_HINTS.get(status, '')}"
