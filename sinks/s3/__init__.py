"""S3Sink: an object in a bucket of S3 for each event."""

from __future__ import annotations

from sinks.s3.sink import S3Sink
from sinks.s3.spec import S3SinkSpec

__all__ = ["S3Sink", "S3SinkSpec"]
