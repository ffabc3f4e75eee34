"""The seams of the mesh: what its parts promise each other.

Channels, sinks and sources of others implement these protocols just as our own do. Every
channel passes `cemesh.testing.contract`.
"""

from broker.ports.backends import (
    Backend,
    BackendOptions,
    Fault,
)
from broker.ports.channels import (
    Books,
    Channel,
    Cursor,
    FutureChannel,
)
from broker.ports.claims import (
    Buried,
    Claim,
    Deferred,
    Ended,
    Outcome,
    Refusal,
    Settled,
    Step,
)
from broker.ports.requests import HttpReply, HttpRequest, Receiver
from broker.ports.sinks import (
    Accepted,
    Answer,
    BatchSink,
    KindSink,
    PromptSink,
    ProvingSinks,
    Refused,
    Sink,
    SinkContext,
    SinkOptions,
    Sinks,
    Told,
    Underway,
)
from broker.ports.sources import Emit, Emitted, Emitter, Json, SdkEvent, Source, SourceContext
from broker.ports.stores import (
    Archive,
    Checkpoints,
    DeadLetter,
    DeadLetters,
    Pause,
    Pauses,
    Stored,
)
from broker.ports.tracing import Tracer
from broker.ports.watching import (
    UNWATCHED,
    Arrival,
    Attempt,
    Origin,
    OriginKind,
    Reason,
    Unwatched,
    Verdict,
    Watcher,
)

__all__ = [
    "UNWATCHED",
    "Accepted",
    "Answer",
    "Archive",
    "Arrival",
    "Attempt",
    "Backend",
    "BackendOptions",
    "BatchSink",
    "Books",
    "Buried",
    "Channel",
    "Checkpoints",
    "Claim",
    "Cursor",
    "DeadLetter",
    "DeadLetters",
    "Deferred",
    "Emit",
    "Emitted",
    "Emitter",
    "Ended",
    "Fault",
    "FutureChannel",
    "HttpReply",
    "HttpRequest",
    "Json",
    "KindSink",
    "Origin",
    "OriginKind",
    "Outcome",
    "Pause",
    "Pauses",
    "PromptSink",
    "ProvingSinks",
    "Reason",
    "Receiver",
    "Refusal",
    "Refused",
    "SdkEvent",
    "Settled",
    "Sink",
    "SinkContext",
    "SinkOptions",
    "Sinks",
    "Source",
    "SourceContext",
    "Step",
    "Stored",
    "Told",
    "Tracer",
    "Underway",
    "Unwatched",
    "Verdict",
    "Watcher",
]
