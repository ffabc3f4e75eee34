"""The audit log: who changed what, when, and with what outcome. One JSON object a line.

Each line goes to the logger ``cemesh.audit``, which is heard whatever the level is, and to a file
where there is one. That is opened for each line, and closed again: changes are rare, and whichever
way the file is rotated, renamed or truncated, the next line is in the one that has the name.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from broker.observe.logging import AUDIT

_audit: Final = logging.getLogger(AUDIT)
_log: Final = logging.getLogger("cemesh.mesh")

_MOST_NAMED: Final = 1_000
_MOST_LOGGED: Final = 20
"""Names of one list in a line of the file, and in one of the log; of more, the number is told."""

_ACCESS: Final = 0o600

Outcome = Literal["done", "ordered", "refused", "failed"]
"""``ordered`` is done within seconds, ``refused`` has changed nothing, ``failed`` may have."""

Detail = str | int | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who asked for a change, as far as the mesh can know.

    ``peer`` is the address of the connection, ``certificate`` the subject of the one that the
    client has proved to have. ``claimed`` is the login name and host that the command line gives,
    and ``forwarded`` the user that a proxy before the admin port names: what they say, the mesh
    cannot verify.
    """

    peer: str | None = None
    certificate: str | None = None
    claimed: str | None = None
    forwarded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was changed: ``subject`` is a kind and a name, or empty. ``detail`` says more.

    What is told elsewhere in the log is only in the file, unless it is ``logged``.
    """

    action: str
    subject: str = ""
    outcome: Outcome
    who: Who = Who()
    detail: Mapping[str, Detail]
    logged: bool = True


class AuditLog:
    """Keeps the audit log, in ``file`` where that is given."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._turn = asyncio.Lock()

    async def note(self, change: Change) -> None:
        """Tell of a change, and return once that is written.

        What cannot be written is an error in the log: the change has been made.
        """
        told = _fields(change)
        if change.logged:
            _audit.info(change.action, extra=_cut(told, _MOST_LOGGED))
        if self._file is None:
            return
        line = json.dumps(_cut({"time": _now(), "action": change.action, **told}, _MOST_NAMED))
        try:
            async with self._turn:  # in their order, and no disk holds the events up
                await asyncio.to_thread(_append, self._file, line.encode())
        except OSError as error:
            extra = {"file": str(self._file), "action": change.action, "subject": change.subject}
            _log.error("change not audited", extra={**extra, "why": error.strerror or str(error)})

    def check(self) -> None:
        """Raise `OSError` where nothing can be written to the file."""
        if self._file is not None:
            os.close(_open(self._file))


def _fields(change: Change) -> dict[str, Detail]:
    who = {
        "peer": change.who.peer,
        "certificate": change.who.certificate,
        "claimed_user": change.who.claimed,
        "forwarded_user": change.who.forwarded,
    }
    told: dict[str, Detail] = {"subject": change.subject} if change.subject else {}
    told["outcome"] = change.outcome
    told |= {name: value for name, value in who.items() if value is not None}
    return {**change.detail, **told}


def _cut(told: Mapping[str, Detail], most: int) -> dict[str, Detail]:
    return {
        name: value if isinstance(value, str | int) else _some(value, most)
        for name, value in told.items()
    }


def _some(names: Sequence[str], most: int) -> Sequence[str]:
    if len(names) <= most:
        return list(names)
    return [*names[:most], f"and {len(names) - most} more"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _ACCESS)


def _append(file: Path, line: bytes) -> None:
    """Write a line; one that a full disk or a crash broke off before it stays a line of its own."""
    descriptor = _open(file)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        written = (b"\n" if torn else b"") + line + b"\n"
        while written:
            written = written[os.write(descriptor, written) :]
    finally:
        os.close(descriptor)
