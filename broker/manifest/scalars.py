"""Gives plain YAML scalars their values: null, booleans, numbers, and text for all else."""

from __future__ import annotations

import re
from typing import Final

Scalar = str | int | float | bool | None

# The words of YAML 1.1, which is what Kubernetes reads too: `off` is a boolean.
_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_LEADS_A_NUMBER: Final = frozenset("+-.0123456789")
# The digits are bounded, as Python converts no text of any length to an integer.
_INTEGER: Final = re.compile(
    r"[-+]?(?:0[bB][01]{1,64}|0[xX][0-9A-Fa-f]{1,16}|0[oO]?[0-7]{1,22}|0|[1-9][0-9]{0,30})"
)
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar.

    Dates and base-60 numbers stay text, as they do in Kubernetes.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _LEADS_A_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():  # 010 is octal in YAML 1.1
        value = int(digits, 8)
    else:
        value = int(digits, 0)
    return -value if text[0] == "-" else value
