"""Redis: where it is, who we are there, and the field of an entry that is a CloudEvent."""

from __future__ import annotations

from typing import Final

from broker.connections.redis.connecting import code_of, connected, in_time, said
from broker.connections.redis.spec import RedisSpec, StreamName

__all__ = ["EVENT_FIELD", "RedisSpec", "StreamName", "code_of", "connected", "in_time", "said"]

EVENT_FIELD: Final = b"cloudevent"
"""The field of a stream's entry that is an event in the JSON format. There is no official binding.

One field, and not one for each attribute: the JSON format keeps the types of attributes and any
payload, every SDK reads it, and no field of others is taken for an attribute.
"""
