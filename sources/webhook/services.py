"""What a service is, to the source: how it proves that it is it, and what its webhooks tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.ports import HttpReply, HttpRequest
from sources.webhook.payloads import Payload
from sources.webhook.signatures import Verify

Told = Mapping[str, str | None]
"""Attributes of an event, as far as a webhook tells them: what no event can have is left out."""


def _no_answer(request: HttpRequest, payload: Payload) -> HttpReply | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One of those that send webhooks.

    ``verifier`` returns what checks requests by these secrets, and by how far from now they may
    have been signed; it raises `ValueError` for a secret that is none. ``told`` returns what a
    verified request tells. ``dated`` says whether the time is signed, ``keeps_events`` that a
    request which is a CloudEvent stays one. ``answer`` returns what a request is answered with
    that is no event, ``status`` is how one that is an event is answered.
    """

    name: str
    verifier: Callable[[Sequence[str], timedelta], Verify]
    told: Callable[[HttpRequest, Payload], Told]
    dated: bool = True
    keeps_events: bool = False
    answer: Callable[[HttpRequest, Payload], HttpReply | None] = _no_answer
    status: int = 202

    @property
    def prefix(self) -> str:
        """What the types of its events begin with."""
        return f"dev.cemesh.{self.name}."
