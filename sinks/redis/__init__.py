"""RedisStreamSink: an entry of a stream of Redis for each event."""

from __future__ import annotations

from sinks.redis.sink import RedisStreamSink, RedisStreamSinkSpec

__all__ = ["RedisStreamSink", "RedisStreamSinkSpec"]
