"""Signatures of requests: AWS Signature Version 4, as S3 wants it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlsplit

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-_.~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Who signs, and for which region."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False)
    region: str


def path_of(key: str) -> str:
    """Return the key as the path of a URL has it, and as it is signed."""
    return quote(key, safe=f"/{_UNRESERVED}")


def query_of(parameters: Mapping[str, str]) -> str:
    """Return the query of a URL, as it is signed: in the order of the names."""
    return "&".join(
        f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}"
        for name, value in sorted(parameters.items())
    )


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: Keys | None,
    now: datetime,
) -> dict[str, str]:
    """Return the headers with those that prove who asks; without keys they prove nothing.

    The names of ``headers`` are in lower case, and path and query of the URL are encoded as
    `path_of` and `query_of` do. All headers, and the body, are signed. ``now`` is in UTC.
    """
    digest = hashlib.sha256(body).hexdigest()
    all_headers = {**headers, "x-amz-content-sha256": digest}
    if keys is None:
        return all_headers
    parts = urlsplit(url)
    time = now.strftime("%Y%m%dT%H%M%SZ")
    all_headers |= {"host": parts.netloc, "x-amz-date": time}
    if keys.token is not None:
        all_headers["x-amz-security-token"] = keys.token
    names = sorted(all_headers)
    lines = [f"{name}:{' '.join(all_headers[name].split())}" for name in names]
    request = "\n".join(
        [method, parts.path or "/", parts.query, *lines, "", ";".join(names), digest]
    )
    scope = f"{time[:8]}/{keys.region}/s3/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    signature = _hmac(_key(keys, time[:8]), "\n".join([_ALGORITHM, time, scope, hashed])).hex()
    all_headers["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return all_headers


def _key(keys: Keys, day: str) -> bytes:
    key = f"AWS4{keys.secret}".encode()
    for part in (day, keys.region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
