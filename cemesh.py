"""The public face of cemesh: what plug-in authors import, and ``python -m cemesh``."""

from broker.errors import (
    CemeshError,
    ChannelFull,
    ChannelUnavailable,
    InvalidEvent,
    InvalidManifest,
    PluginNotFound,
    UnknownBroker,
)
from broker.event import Event
from broker.filters import Filter
from broker.ports import (
    Accepted,
    Answer,
    Backend,
    BackendOptions,
    Books,
    Channel,
    Claim,
    Cursor,
    DeadLetter,
    DeadLetters,
    Emit,
    Fault,
    Outcome,
    Refusal,
    Refused,
    Sink,
    SinkOptions,
    Sinks,
    Source,
)
from broker.trigger import Target

__all__ = [
    "Accepted",
    "Answer",
    "Backend",
    "BackendOptions",
    "Books",
    "CemeshError",
    "Channel",
    "ChannelFull",
    "ChannelUnavailable",
    "Claim",
    "Cursor",
    "DeadLetter",
    "DeadLetters",
    "Emit",
    "Event",
    "Fault",
    "Filter",
    "InvalidEvent",
    "InvalidManifest",
    "Outcome",
    "PluginNotFound",
    "Refusal",
    "Refused",
    "Sink",
    "SinkOptions",
    "Sinks",
    "Source",
    "Target",
    "UnknownBroker",
]

if __name__ == "__main__":
    from broker.cli import main

    main()
