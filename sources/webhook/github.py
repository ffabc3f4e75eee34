"""GitHub: signed by ``X-Hub-Signature-256``, without a time."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from broker.ports import HttpRequest
from sources.webhook.payloads import Payload
from sources.webhook.services import Service, Told
from sources.webhook.signatures import Verify, check_match, required

SIGNATURE: Final = "X-Hub-Signature-256"

_SOURCES: Final = (
    "repository.html_url",
    "organization.url",
    "enterprise.html_url",
)
_SUBJECTS: Final = (
    "pull_request.number",
    "issue.number",
    "discussion.number",
    "number",
    "release.tag_name",
    "ref",
)


def verifier(secrets: Sequence[str], tolerance: timedelta) -> Verify:
    keys = [each.encode() for each in secrets]

    def verify(request: HttpRequest, now: float) -> None:
        given = required(request, SIGNATURE)
        digests = [hmac.digest(key, request.body, "sha256").hex() for key in keys]
        check_match(SIGNATURE, [given], [f"sha256={each}" for each in digests])

    return verify


def told(request: HttpRequest, payload: Payload) -> Told:
    event = request.header("x-github-event")
    action = payload.text("action")
    kind = event if event is None or action is None else f"{event}.{action}"
    return {
        "id": request.header("x-github-delivery"),
        "type": None if kind is None else f"{GITHUB.prefix}{kind}",
        "source": payload.first(*_SOURCES),
        "subject": payload.first(*_SUBJECTS),
    }


GITHUB: Final = Service(name="github", verifier=verifier, told=told, dated=False)
