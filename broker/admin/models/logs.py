"""The level of the log."""

from __future__ import annotations

from broker.admin.models.base import Document


class LogRequest(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which level on the log shall tell."""

    level: str


class LogDocument(Document, frozen=True, kw_only=True):
    """From which level on the log tells: ``debug``, ``info``, ``warning`` or ``error``."""

    level: str
