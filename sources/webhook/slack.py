"""Slack: the Events API, slash commands and interactions."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from broker.ports import HttpReply, HttpRequest
from sources.webhook.payloads import Payload, time_of
from sources.webhook.services import Service, Told
from sources.webhook.signatures import Verify, check_age, check_match, required

SIGNATURE: Final = "X-Slack-Signature"
TIME: Final = "X-Slack-Request-Timestamp"

_SUBJECTS: Final = (
    "event.channel",
    "event.channel.id",
    "event.item.channel",
    "event.user",
    "callback_id",
    "view.callback_id",
)


def verifier(secrets: Sequence[str], tolerance: timedelta) -> Verify:
    keys = [each.encode() for each in secrets]

    def verify(request: HttpRequest, now: float) -> None:
        given, time = required(request, SIGNATURE), required(request, TIME)
        content = b"v0:%s:%s" % (time.encode("latin-1"), request.body)
        digests = [hmac.digest(key, content, "sha256").hex() for key in keys]
        check_match(SIGNATURE, [given], [f"v0={each}" for each in digests])
        check_age(time, TIME, now=now, tolerance=tolerance)

    return verify


def answer(request: HttpRequest, payload: Payload) -> HttpReply | None:
    """Return the challenge by which Slack finds out that a URL is the user's to give."""
    challenge = payload.text("challenge")
    if payload.text("type") != "url_verification" or challenge is None:
        return None
    return HttpReply(status=200, headers={"content-type": "text/plain"}, body=challenge.encode())


def told(request: HttpRequest, payload: Payload) -> Told:
    command = payload.text("command")
    # What is no event of the Events API says in `type` what it is: an interaction, mostly.
    kind = "slash_command" if command else payload.first("event.type", "type")
    return {
        "id": payload.first("event_id", "trigger_id"),
        "type": None if kind is None else f"{SLACK.prefix}{kind}",
        "subject": command or payload.first(*_SUBJECTS),
        "time": time_of(payload.text("event_time")),
    }


SLACK: Final = Service(
    name="slack",
    verifier=verifier,
    told=told,
    answer=answer,
    status=200,  # slash commands take no other for success
)
