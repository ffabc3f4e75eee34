"""GitLab: a token that is shown, or, from GitLab 19 on, Standard Webhooks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from broker.ports import HttpRequest
from sources.webhook import standard
from sources.webhook.payloads import Payload
from sources.webhook.services import Service, Told
from sources.webhook.signatures import Unverified, Verify, required, same

_TOKEN: Final = "X-Gitlab-Token"  # noqa: S105 - the name of a header

_SOURCES: Final = ("project.web_url", "repository.homepage", "group.web_url")
_SUBJECTS: Final = ("object_attributes.iid", "object_attributes.id", "ref")
_ACTIONS: Final = ("object_attributes.action", "action")
_IDS: Final = ("idempotency-key", "webhook-id", "x-gitlab-event-uuid")
_IN_NO_TYPE: Final = re.compile("[^a-z0-9_]+")


def verifier(secrets: Sequence[str], tolerance: timedelta) -> Verify:
    """Return what checks requests by tokens and by keys to sign with, of which some may be each."""
    keys = [each for each in secrets if each.startswith(standard.SYMMETRIC)]
    tokens = [each for each in secrets if each not in keys]
    signed = standard.verifier(keys, tolerance)

    def verify(request: HttpRequest, now: float) -> None:
        # Both while a webhook goes from the one to the other.
        if keys and (not tokens or request.header("webhook-signature") is not None):
            signed(request, now)
            return
        given = required(request, _TOKEN)
        if not any(same(given, each) for each in tokens):
            raise Unverified(f"the token in {_TOKEN} is another one")

    return verify


def told(request: HttpRequest, payload: Payload) -> Told:
    kind = payload.first("object_kind", "event_name")
    if kind is None:
        header = request.header("x-gitlab-event") or ""
        kind = _IN_NO_TYPE.sub("_", header.removesuffix(" Hook").lower()).strip("_") or None
    action = payload.first(*_ACTIONS)
    whole = kind if kind is None or action is None else f"{kind}.{action}"
    return {
        "id": next(filter(None, map(request.header, _IDS)), None),
        "type": None if whole is None else f"{GITLAB.prefix}{whole}",
        "source": payload.first(*_SOURCES) or request.header("x-gitlab-instance"),
        "subject": payload.first(*_SUBJECTS),
    }


GITLAB: Final = Service(name="gitlab", verifier=verifier, told=told)
