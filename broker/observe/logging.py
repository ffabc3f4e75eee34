"""Structured logs: the message names the stage, everything else is a field.

Write ``logger.warning("delivery failed", extra={"trigger": key, "event_id": event.id})`` to a
logger named ``cemesh.<part>``. Field names are snake_case; the names that `logging.LogRecord`
has itself (``name``, ``args``, ``module`` …) are taken. Payloads and credentials are never
fields.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from broker.observe.hints import HINTS

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

AUDIT: Final = "cemesh.audit"
"""The logger of what operators change: see `broker.observe.audit`."""

SOURCE: Final[ContextVar[str | None]] = ContextVar("source", default=None)
"""The source of the manifests, ``Kind namespace/name``, at whose work this is logged."""

# `color_message` is uvicorn's own copy of the message, with escape codes in it.
_NOT_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}

_COLOURS: Final = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[31m",
}
_FAINT: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def configure(
    format: Format, level: Level, *, stream: TextIO | None = None, worker: int | None = None
) -> None:
    """Send every log record to ``stream`` (standard error), in place of what was set up before.

    Where this is a ``worker`` of a mesh, its number is a field of each line.
    ``level`` holds for cemesh's own loggers. Libraries are heard from warnings upwards, so
    that what they tell about themselves does not drown what the mesh tells; and the clients of
    Kafka and RabbitMQ only at level debug: they tell of an outage again and again, or with
    tracebacks, and the mesh tells of it once.
    """
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    if format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(colour=stream.isatty() and not _no_colour()))
    handler.addFilter(_Completed(worker))
    logging.getLogger().handlers[:] = [handler]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
    set_level(level)
    logging.captureWarnings(capture=True)


def set_level(level: Level) -> None:
    """Let records from ``level`` on through, as `configure` does. What is audited always passes."""
    logging.getLogger().setLevel(max(logging.WARNING, _LEVELS[level]))
    logging.getLogger("cemesh").setLevel(_LEVELS[level])
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    for name in ("aiokafka", "aiormq"):
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.CRITICAL)


def current_level() -> Level:
    """Return the level that was set last."""
    number = logging.getLogger("cemesh").getEffectiveLevel()
    return next((level for level, each in _LEVELS.items() if each >= number), "error")


class _Completed(logging.Filter):
    """Lets every record pass, and adds what is known without whoever logs it."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        source = SOURCE.get()
        if source is not None and not hasattr(record, "source"):
            record.source = source
        if self._worker is not None:
            record.worker = self._worker
        hint = HINTS.get(str(record.msg)) if record.levelno >= logging.WARNING else None
        if hint is not None:
            record.hint = hint
        return True


def _no_colour() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what the record tells beside its message."""
    return {name: value for name, value in vars(record).items() if name not in _NOT_FIELDS}


class TextFormatter(logging.Formatter):
    """One line for people: time, level, part, stage, fields. A traceback follows on its own."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone()
        level = f"{record.levelname.lower():<7}"
        told = " ".join(f"{name}={_shown(value)}" for name, value in fields(record).items())
        if self._colour:
            level = f"{_COLOURS.get(record.levelno, '')}{level}{_PLAIN}"
            told = f"{_FAINT}{told}{_PLAIN}" if told else ""
        line = (
            f"{time:%H:%M:%S}.{time.microsecond // 1000:03} {level} {_part(record):<10} "
            f"{_one_line(record.getMessage())}"
        )
        line = f"{line}  {told}" if told else line
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # Named twice: first for the order, then so that no field takes the place of one.
        line: dict[str, object] = {**told, **fields(record), **told}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _part(record: logging.LogRecord) -> str:
    first, _, rest = record.name.partition(".")
    return (rest or first) if first == "cemesh" else first


def _one_line(text: str) -> str:
    # A message that holds a line break would let whoever chose the text forge a log line.
    return text if text.isprintable() else json.dumps(text)


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    plain = text.isprintable() and text and not any(each in text for each in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())
