"""What a RedisStreamSource's ``spec`` says beside its sink."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from broker.connections.redis import RedisSpec, StreamName
from broker.manifest.durations import PositiveDuration

_SHORTEST: Final = timedelta(milliseconds=100)


def _claim_after(value: timedelta) -> timedelta:
    if value < _SHORTEST:
        raise ValueError("must be PT0.1S or longer")
    return value


class RedisStreamSpec(RedisSpec):
    """Which stream is read, where, from where on, and as which consumer group.

    What a consumer has been given and not acknowledged for ``claim_after`` is another's to take.
    """

    stream: StreamName
    group: StreamName | None = None
    start_at: Literal["beginning", "end"] = "end"
    claim_after: Annotated[PositiveDuration, AfterValidator(_claim_after)] = timedelta(minutes=1)

    def group_of(self, namespace: str, name: str) -> str:
        """Return the consumer group of the source of that name, the same for ever."""
        # A namespace has no dot in it, so that no two sources share one.
        return self.group or f"cemesh-source.{namespace}.{name}"
