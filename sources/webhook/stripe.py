"""Stripe: signed by ``Stripe-Signature``, which has the time in it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from broker.ports import HttpRequest
from sources.webhook.payloads import Payload, time_of
from sources.webhook.services import Service, Told
from sources.webhook.signatures import Unverified, Verify, check_age, check_match, required

SIGNATURE: Final = "Stripe-Signature"


def verifier(secrets: Sequence[str], tolerance: timedelta) -> Verify:
    # The whole secret is the key, with its whsec_: it is not that of Standard Webhooks.
    keys = [each.encode() for each in secrets]

    def verify(request: HttpRequest, now: float) -> None:
        parts = [each.partition("=") for each in required(request, SIGNATURE).split(",")]
        times = [value for name, _, value in parts if name == "t"]
        given = [value for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not given:
            raise Unverified(f"{SIGNATURE} is not of the form t=…,v1=…")
        content = b"%s.%s" % (times[0].encode("latin-1"), request.body)
        check_match(SIGNATURE, given, [hmac.digest(key, content, "sha256").hex() for key in keys])
        check_age(times[0], SIGNATURE, now=now, tolerance=tolerance)

    return verify


def told(request: HttpRequest, payload: Payload) -> Told:
    kind = payload.text("type")
    return {
        "id": payload.text("id"),
        "type": None if kind is None else f"{STRIPE.prefix}{kind}",
        "subject": payload.first("data.object.id", "related_object.id"),
        "time": time_of(payload.text("created")),
    }


STRIPE: Final = Service(name="stripe", verifier=verifier, told=told)
