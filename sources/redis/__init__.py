"""RedisStreamSource: the entries of a stream of Redis, shared by the members of a group."""

from __future__ import annotations

from sources.redis.source import RedisStreamSource
from sources.redis.spec import RedisStreamSpec

__all__ = ["RedisStreamSource", "RedisStreamSpec"]
