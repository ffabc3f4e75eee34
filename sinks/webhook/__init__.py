"""WebhookSink: an HTTP request made of a template, as chats and other people's APIs want it."""

from __future__ import annotations

from sinks.webhook.sink import WebhookSink
from sinks.webhook.spec import WebhookSinkSpec

__all__ = ["WebhookSink", "WebhookSinkSpec"]
