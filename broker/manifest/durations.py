"""Reads durations in the notation of ISO 8601, as Knative writes them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator

_DURATION: Final = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:[.,]\d+)?)S)?)?",
    re.ASCII,
)
_CALENDAR: Final = re.compile(r"P\d[\dYMWD]*[YM]", re.ASCII)
_EXAMPLE: Final = "an ISO 8601 duration such as PT0.2S, PT30S or PT1H"


def duration(text: object) -> timedelta:
    """Return the duration, or raise `ValueError` that shows how one is written.

    Years and months have no fixed length and are refused, as is anything negative.
    """
    if not isinstance(text, str):
        raise ValueError(f"must be {_EXAMPLE}")
    found = _DURATION.fullmatch(text)
    if found is None:
        if text.startswith("-"):
            raise ValueError(f"'{text}' is negative; give {_EXAMPLE}")
        if _CALENDAR.match(text):
            raise ValueError(f"'{text}': years and months have no fixed length; give {_EXAMPLE}")
        raise ValueError(f"'{text}' is not {_EXAMPLE}")
    amounts = found.groupdict(default="0")
    try:
        return timedelta(
            **{unit: float(amount.replace(",", ".")) for unit, amount in amounts.items()}
        )
    except OverflowError:
        raise ValueError(f"'{text}' is too long; give {_EXAMPLE}") from None


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("must be longer than zero")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(lambda text: _positive(duration(text)))]
