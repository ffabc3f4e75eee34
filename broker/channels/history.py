"""What looking back has in common on channels that number their events."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

CLOCK_STEP: Final = timedelta(minutes=1)
"""By how much the clock may step back without an event being missed by its time."""


def position_number(position: str | None) -> int:
    """Return the number that the position is the text of, 0 for none; raises `ValueError`."""
    if position is None:
        return 0
    if position.isascii() and position.isdigit() and len(position) < 19:
        return int(position)
    raise ValueError(f"'{position[:64]}' is not a position that the channel gave")
