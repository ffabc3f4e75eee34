"""HttpPollerSource: what an HTTP server answers, asked again and again."""

from __future__ import annotations

from sources.httppoller.source import HttpPollerSource
from sources.httppoller.spec import HttpPollerSpec

__all__ = ["HttpPollerSource", "HttpPollerSpec"]
