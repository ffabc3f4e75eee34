"""Why S3 cannot be used, in words."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ServerDisconnectedError,
)

from broker.connections import faults
from broker.connections.s3.spec import S3Access

FAULTS: Final = (ClientError, OSError, TimeoutError)
"""What the network, and a server that does not speak S3, do to a request."""

_HINTS: Final[Mapping[str, str]] = {
    "AccessDenied": "its policy has to allow this to these keys, or to anybody without keys",
    "AuthorizationHeaderMalformed": "is 'region' the bucket's?",
    "ExpiredToken": "'sessionToken' has expired",
    "InvalidAccessKeyId": "is 'accessKeyId' one that it knows?",
    "InvalidToken": "does 'sessionToken' belong to 'accessKeyId'?",
    "NoSuchBucket": "is 'bucket' right, and 'pathStyle'?",
    "PermanentRedirect": "the bucket is in another region: 'region' and 'endpoint' have to say it",
    "QuotaExceeded": "there is no room left",
    "RequestTimeTooSkewed": "one of the two clocks is wrong",
    "SignatureDoesNotMatch": "is 'secretAccessKey' right?",
    "SlowDown": "it is asked too often",
    "TemporaryRedirect": "the bucket is new, and not yet known everywhere",
}


class S3Error(Exception):
    """S3 has refused a request. ``code`` is its own word for why; ``status`` that of HTTP."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.status = status
        self.code = code


def said(error: BaseException, access: S3Access) -> str:
    """Return in words what S3 or the network told, at which address, and where to look."""
    host = urlsplit(access.url).netloc
    return f"the bucket '{access.bucket}' at {host} cannot be used: {_cause(error)}"


def _cause(error: BaseException) -> str:
    match error:
        case ClientConnectorCertificateError():
            error = error.certificate_error
        case ClientConnectorError():
            error = error.os_error
    match error:
        case S3Error():
            hint = _HINTS.get(error.code)
            return str(error) if hint is None else f"{str(error).removesuffix('.')}; {hint}"
        case ServerDisconnectedError() | ConnectionResetError():
            return "it closed the connection; does it expect TLS?"
    return faults.said(error, certificate=None)


def phrase(status: int) -> str:
    """Return what stands for the code where S3 gives none, ``NotFound`` say."""
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return f"HTTP{status}"
