"""Triggers that are paused."""

from __future__ import annotations

from datetime import datetime

from broker.admin.models.base import Document


class PauseRequest(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``why`` is shown to whoever asks why the trigger gets nothing."""

    why: str


class PauseDocument(Document, frozen=True, kw_only=True):
    """That a trigger is paused, and since when; both None where it is not."""

    trigger: str
    why: str | None
    since: datetime | None
