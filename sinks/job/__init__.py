"""JobSink: a command run for each event, once for each `source` and `id`."""

from __future__ import annotations

from sinks.job.sink import JobSink
from sinks.job.spec import JobSinkSpec

__all__ = ["JobSink", "JobSinkSpec"]
