"""What is said where there is no server to test with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """There is no way to run a server here; the reason says what would be one."""

    reason: str
