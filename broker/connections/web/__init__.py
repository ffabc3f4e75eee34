"""HTTP and WebSocket servers, as sources that connect to them share it: who, TLS, and faults."""

from __future__ import annotations

from broker.connections.web.access import TextOrSecret, WebAccess, checked_url, dotted_path
from broker.connections.web.faults import phrase, said

__all__ = ["TextOrSecret", "WebAccess", "checked_url", "dotted_path", "phrase", "said"]
