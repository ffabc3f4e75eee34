"""The formats of values: URI (RFC 3986), timestamp (RFC 3339) and media type (RFC 2046)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final


def _remembering(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Return a test whether a text is all ``pattern``, for texts that many events share.

    Only short texts are remembered, so that what a client sends cannot fill the memory.
    """

    @lru_cache(maxsize=1024)
    def remembered(text: str) -> bool:
        return pattern.fullmatch(text) is not None

    def matches(text: str) -> bool:
        return remembered(text) if len(text) <= 256 else pattern.fullmatch(text) is not None

    return matches


_PCHAR: Final = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_AUTHORITY: Final = (
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?"
    r"(?:\[[0-9A-Za-z:.\-_~!$&'()*+,;=]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)"
    r"(?::[0-9]*)?"
)
_TAIL: Final = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:\#(?:{_PCHAR}|[/?])*)?"
_PATH_AFTER_AUTHORITY: Final = rf"(?:/{_PCHAR}*)*"
_ABSOLUTE: Final = (
    r"[A-Za-z][A-Za-z0-9+.\-]*:"
    rf"(?://{_AUTHORITY}{_PATH_AFTER_AUTHORITY}|/?(?:{_PCHAR}+(?:/{_PCHAR}*)*)?)"
)
_SEGMENT_WITHOUT_COLON: Final = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})+"
_RELATIVE: Final = (
    rf"(?://{_AUTHORITY}{_PATH_AFTER_AUTHORITY}|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?"
    rf"|{_SEGMENT_WITHOUT_COLON}(?:/{_PCHAR}*)*)?"
)
is_uri: Final = _remembering(re.compile(_ABSOLUTE + _TAIL))
is_uri_reference: Final = _remembering(re.compile(rf"(?:{_ABSOLUTE}|{_RELATIVE}){_TAIL}"))
"""Return whether this is a URI, or one left to be resolved against another; the empty one is."""

_TCHARS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Possessive quantifiers: a long run of blanks must not be tried in every split.
is_media_type: Final = _remembering(
    re.compile(
        rf"{_TCHARS}/{_TCHARS}"
        rf"(?:[ \t]*+;[ \t]*+(?:{_TCHARS}=(?:{_TCHARS}|\"(?:[ !#-\[\]-~]|\\[ -~])*+\"))?)*+[ \t]*+"
    )
)

_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def is_time(value: str) -> bool:
    """Return whether this is a timestamp as RFC 3339 has it, of a day that there was."""
    return _TIME.fullmatch(value) is not None and _is_date(value[:10])


@lru_cache(maxsize=16)
def _is_date(text: str) -> bool:
    try:
        date(int(text[:4]) or 4, int(text[5:7]), int(text[8:]))  # year 0 was a leap year, as 4
    except ValueError:
        return False
    return True


def is_json(content_type: str) -> bool:
    """Return whether a payload of this media type is JSON: ``*/json`` or ``*/*+json``."""
    if content_type == "application/json":  # as nearly always
        return True
    return content_type.partition(";")[0].rstrip().lower().endswith(("/json", "+json"))
