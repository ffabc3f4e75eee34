"""Signs requests (Standard Webhooks 1.0.0, section "Verifying webhook authenticity")."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from broker.errors import CemeshError
from broker.event import Event
from broker.policy import Signing

Headers = list[tuple[bytes, bytes]]
Sign = Callable[[bytes], bytes]
"""Return the signature of these bytes, as it stands in ``webhook-signature``."""

_SYMMETRIC: Final = "whsec_"
_PRIVATE: Final = "whsk_"
_PUBLIC: Final = "whpk_"

_SECRET_BYTES: Final = range(24, 64 + 1)
_SEED_BYTES: Final = 32


class _Unusable(ValueError):
    """The key cannot be signed with; the text says why, and never shows it."""


class Signer:
    """Signs with each of a trigger's keys, so that receivers can go from one to another.

    Raises a `CemeshError` where a key is none.
    """

    def __init__(self, signing: Signing) -> None:
        try:
            self._signs = [_sign_with(key) for key in signing.keys]
        except _Unusable as error:
            raise CemeshError(f"a signing key {error}") from None

    def headers(self, events: Sequence[Event], body: bytes, now: float) -> Headers:
        """Return the headers that sign ``body``, sent at ``now`` (seconds since the epoch)."""
        identity, timestamp = webhook_id(*events), b"%d" % now
        content = b"%s.%s.%s" % (identity, timestamp, body)
        return [
            (b"webhook-id", identity),
            (b"webhook-timestamp", timestamp),
            (b"webhook-signature", self.signatures(content)),
        ]

    def signatures(self, content: bytes) -> bytes:
        """Return the content's signatures, by each key, as ``webhook-signature`` has them."""
        return b" ".join([sign(content) for sign in self._signs])


def webhook_id(*events: Event) -> bytes:
    """Return the same id for the same events, whatever the attempt, the trigger or the mesh.

    It is a digest, as it is ``source`` and ``id`` together that tell events apart, and as these
    may hold the full stop that separates what is signed.
    """
    identity = "\n".join(f"{event.source}\n{event.id}" for event in events).encode()
    return b"evt_" + sha256(identity).hexdigest()[:32].encode()


def _sign_with(key: str) -> Sign:
    if key.startswith(_SYMMETRIC):
        return _hmac(_decoded(key.removeprefix(_SYMMETRIC)))
    if key.startswith(_PRIVATE):
        return _ed25519(_decoded(key.removeprefix(_PRIVATE)))
    if key.startswith(_PUBLIC):
        raise _Unusable(
            f"is the public key, which receivers have: the one that signs is {_PRIVATE}…"
        )
    raise _Unusable(f"begins with neither {_SYMMETRIC} (HMAC-SHA256) nor {_PRIVATE} (ed25519)")


def _hmac(secret: bytes) -> Sign:
    if len(secret) not in _SECRET_BYTES:
        first, last = _SECRET_BYTES[0], _SECRET_BYTES[-1]
        raise _Unusable(f"is {len(secret)} bytes long, and has to be {first} to {last}")
    return lambda content: b"v1," + b64encode(hmac.digest(secret, content, "sha256"))


def _ed25519(private: bytes) -> Sign:
    """Take the 32 bytes of the private key (RFC 8032), alone or with those of the public one."""
    # Not for those who do not need it: loading OpenSSL takes 60 ms.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if len(private) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        raise _Unusable(
            f"is {len(private)} bytes long, and has to be {_SEED_BYTES}, "
            f"or {2 * _SEED_BYTES} with the public key behind it"
        )
    key = Ed25519PrivateKey.from_private_bytes(private[:_SEED_BYTES])
    if private[_SEED_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise _Unusable("has a public key behind it that belongs to another")
    return lambda content: b"v1a," + b64encode(key.sign(content))


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Unusable("is not base64 behind its prefix") from None
