"""Traces by OpenTelemetry: on where its environment names a collector, and else not even imported.

`tracing_of` reads that environment; the rest of the package is imported where it says so.
"""

from broker.observe.tracing.environment import tracing_of

__all__ = ["tracing_of"]
