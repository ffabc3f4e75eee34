"""What the operator chose for one process.

The command line fills it in, from flags and the environment; nothing below reads either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of ``cemesh run``.

    ``channel`` is the URL of the default channel, or None for the embedded one in
    ``data_dir``. ``resolve`` maps ``Kind/namespace/name`` to the URL that stands for it.
    A port of 0 takes any that is free.
    """

    paths: tuple[Path, ...]
    data_dir: Path = Path(".cemesh")
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    channel: str | None = None
    resolve: Mapping[str, str] = field(default_factory=dict)
    retention_age: timedelta = timedelta(days=7)
    retention_bytes: int = 1 << 30
    max_event_bytes: int = 1 << 20
    drain_timeout: timedelta = timedelta(seconds=30)
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
