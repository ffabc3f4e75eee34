"""WebSocketSource: the messages that a WebSocket server sends."""

from __future__ import annotations

from sources.websocket.source import WebSocketSource
from sources.websocket.spec import WebSocketSpec

__all__ = ["WebSocketSource", "WebSocketSpec"]
