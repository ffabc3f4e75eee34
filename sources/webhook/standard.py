"""Standard Webhooks 1.0.0, as the mesh itself signs what it delivers."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from broker.ports import HttpRequest
from sources.webhook.payloads import Payload, time_of
from sources.webhook.services import Service, Told
from sources.webhook.signatures import Unverified, Verify, check_age, required, same

SYMMETRIC: Final = "whsec_"
_PUBLIC: Final = "whpk_"
_PRIVATE: Final = "whsk_"

_ID: Final = "Webhook-Id"
_TIME: Final = "Webhook-Timestamp"
_SIGNATURE: Final = "Webhook-Signature"

_SIGNATURES: Final = 16
"""Of how many signatures at most one has to match: each costs its verification."""

Matches = Callable[[bytes, str], bool]
"""Return whether that is the signature of these bytes, as ``webhook-signature`` has it."""


def verifier(secrets: Sequence[str], tolerance: timedelta) -> Verify:
    """Return what checks requests by the keys. Raises `ValueError` where one is none."""
    keys = [_key(each) for each in secrets]

    def verify(request: HttpRequest, now: float) -> None:
        identity, time = required(request, _ID), required(request, _TIME)
        given = required(request, _SIGNATURE).split(" ")[:_SIGNATURES]
        # ASGI hands headers over as Latin-1, so that these are the bytes that were sent.
        content = b".".join((identity.encode("latin-1"), time.encode("latin-1"), request.body))
        if not any(matches(content, each) for matches in keys for each in given):
            raise Unverified(
                f"the signature in {_SIGNATURE} does not match, or is by another secret"
            )
        check_age(time, _TIME, now=now, tolerance=tolerance)

    return verify


def _key(text: str) -> Matches:
    if text.startswith(SYMMETRIC):
        return _hmac(_decoded(text.removeprefix(SYMMETRIC)))
    if text.startswith(_PUBLIC):
        return _ed25519(_decoded(text.removeprefix(_PUBLIC)))
    if text.startswith(_PRIVATE):
        raise ValueError(f"is the private key, which the sender has: the public one is {_PUBLIC}…")
    raise ValueError(f"begins with neither {SYMMETRIC} (HMAC-SHA256) nor {_PUBLIC} (ed25519)")


def _hmac(secret: bytes) -> Matches:
    def matches(content: bytes, signature: str) -> bool:
        digest = hmac.digest(secret, content, "sha256")
        return same(f"v1,{b64encode(digest).decode()}", signature)

    return matches


def _ed25519(public: bytes) -> Matches:
    # Not for those who do not need it: loading OpenSSL takes 60 ms.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(public) != 32:
        raise ValueError(f"is {len(public)} bytes long, and has to be 32")
    key = Ed25519PublicKey.from_public_bytes(public)

    def matches(content: bytes, signature: str) -> bool:
        version, _, text = signature.partition(",")
        if version != "v1a":
            return False
        try:
            key.verify(_decoded(text), content)
        except (InvalidSignature, ValueError):
            return False
        return True

    return matches


def _decoded(text: str) -> bytes:
    """Return what stands there in base64, and nothing else that decodes to the same."""
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        found = b""
    if not found or b64encode(found).decode() != text:
        raise ValueError("is not base64 behind its prefix")
    return found


def told(request: HttpRequest, payload: Payload) -> Told:
    sent = request.header(_TIME.lower())
    return {
        "id": request.header(_ID.lower()),
        "type": payload.text("type"),
        "time": time_of(payload.text("timestamp")) or time_of(sent),
    }


STANDARD: Final = Service(name="standard-webhooks", verifier=verifier, told=told, keeps_events=True)
