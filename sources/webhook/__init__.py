"""WebhookSource: the webhooks of other services, once they prove who sent them."""

from __future__ import annotations

from sources.webhook.source import WebhookSource
from sources.webhook.spec import WebhookSpec

__all__ = ["WebhookSource", "WebhookSpec"]
