"""HTTP and WebSocket servers, as sources that connect to them share it: who, TLS, and faults."""

from __future__ import annotations

from broker.connections.web.access import WebAccess, checked_url, dotted_path
from broker.connections.web.faults import phrase

__all__ = ["WebAccess", "checked_url", "dotted_path", "phrase"]
