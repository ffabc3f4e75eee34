"""A service that is not known by name: signed, and told of, as the spec says."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from broker.ports import HttpRequest
from sources.webhook.payloads import Payload, time_of
from sources.webhook.services import Service, Told
from sources.webhook.signatures import Verify, check_age, check_match, required
from sources.webhook.spec import BODY, TIMESTAMP, EventSpec, HmacSpec, Taken


def generic(signing: HmacSpec | None, event: EventSpec) -> Service:
    """Return the service; ``signing`` is None for one that does not sign."""

    def verifier(secrets: Sequence[str], tolerance: timedelta) -> Verify:
        assert signing is not None  # noqa: S101 - the spec has secrets only beside `hmac`
        return _verifier(signing, [each.encode() for each in secrets], tolerance)

    def told(request: HttpRequest, payload: Payload) -> Told:
        found = {name: _found(taken, request, payload) for name, taken in event}
        signed_at = "" if signing is None else _time(signing, request)
        # The same for what comes again: that is signed at the same time, where a time is signed.
        digest = sha256(signed_at.encode() + request.body).hexdigest()
        return {
            **found,
            "id": found["id"] or digest,
            "time": time_of(found["time"]) or time_of(signed_at),
        }

    name = "unverified" if signing is None else "hmac"
    return Service(name=name, verifier=verifier, told=told, keeps_events=True)


def _verifier(signing: HmacSpec, keys: Sequence[bytes], tolerance: timedelta) -> Verify:
    def digest(key: bytes, content: bytes) -> str:
        found = hmac.digest(key, content, signing.algorithm)
        return signing.prefix + (
            found.hex() if signing.encoding == "hex" else b64encode(found).decode()
        )

    def verify(request: HttpRequest, now: float) -> None:
        given = required(request, signing.header)
        time = ""
        if signing.timestamp_header is not None:
            time = required(request, signing.timestamp_header)
        parts = {BODY: request.body, TIMESTAMP: time.encode("latin-1")}
        content = b"".join(parts.get(each, each.encode()) for each in signing.pieces)
        check_match(signing.header, [given], [digest(key, content) for key in keys])
        if signing.timestamp_header is not None:
            check_age(time, signing.timestamp_header, now=now, tolerance=tolerance)

    return verify


def _found(taken: Taken | None, request: HttpRequest, payload: Payload) -> str | None:
    if taken is None:
        return None
    if taken.header is not None:
        return request.header(taken.header.lower())
    return taken.value if taken.path is None else payload.text(taken.path)


def _time(signing: HmacSpec, request: HttpRequest) -> str:
    header = signing.timestamp_header
    return "" if header is None else request.header(header.lower()) or ""
