"""How spans leave the process: in batches, by a thread, and without a word for each that cannot.

The SDK logs every request that fails and, again and again, that more spans come than it can send.
Here a collector that does not take spans is told of once, and once that it does again; that there
are too many is told once.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

_log: Final = logging.getLogger("cemesh.tracing")

_EXPORTERS: Final = "opentelemetry.exporter"
_BATCHES: Final = "opentelemetry.sdk._shared_internal"

_LEAVES_WITHIN: Final = timedelta(seconds=5)
"""How long the last spans have to leave, at most: nobody waits for a collector that is down."""

_LONGEST: Final = 256
_OF_SYSTEM: Final = re.compile(r"\[Errno -?[0-9]+\] ([\w ,.-]+)")


class _FirstWord(logging.Handler):
    """Keeps what was said first of a failure, instead of logging all that is."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.text is None:
            self.text = record.getMessage()


class _TooMany(logging.Handler):
    """Tells once that spans are dropped, unless that is because nobody takes any."""

    def __init__(self, telling: _Telling) -> None:
        super().__init__(logging.WARNING)
        self._telling = telling
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._told and not self._telling.fails:
            self._told = True
            extra = {"endpoint": self._telling.endpoint, "why": record.getMessage()}
            _log.warning("traces dropped, as more come than can be sent", extra=extra)


class _Telling(SpanExporter):
    """An exporter that tells when it ceases to work, and when it works again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self.endpoint = endpoint
        self._said = _FirstWord()
        self._lost = 0
        for name, handler in ((_EXPORTERS, self._said), (_BATCHES, _TooMany(self))):
            library = logging.getLogger(name)
            library.propagate = False
            library.handlers = [handler]

    @property
    def fails(self) -> bool:
        """Whether the last spans were not taken."""
        return self._lost > 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._said.text = None
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                why = _why(self._said.text or "no answer")
                _log.warning(
                    "traces not taken, and dropped until they are",
                    extra={"endpoint": self.endpoint, "why": why},
                )
            self._lost += len(spans)
        elif self._lost:
            _log.warning(
                "traces taken again", extra={"endpoint": self.endpoint, "spans_lost": self._lost}
            )
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _why(text: str) -> str:
    """Return what the system said, where it is in the text; else the text, without any query."""
    said = _OF_SYSTEM.search(text)
    return said[1] if said else text.partition("?")[0][:_LONGEST]


class Leaving(BatchSpanProcessor):
    """Sends spans to the collector that the environment names. Nothing ever waits for it.

    ``endpoint`` is how that is told. Raises `ValueError` where the environment is wrong.
    """

    def __init__(self, endpoint: str) -> None:
        self._otlp = OTLPSpanExporter()
        super().__init__(_Telling(self._otlp, endpoint))

    async def close(self, within: timedelta) -> None:
        """Send what is left, and stop: within that time, or within 5 s where it is longer."""
        seconds = min(within, _LEAVES_WITHIN).total_seconds()
        # It takes no deadline, so it has a thread that the process does not wait for.
        leaving = threading.Thread(target=self.shutdown, daemon=True)
        leaving.start()
        await asyncio.to_thread(leaving.join, seconds)
        if leaving.is_alive():
            self._otlp.shutdown()  # type: ignore[no-untyped-call] # as the SDK has it
