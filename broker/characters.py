"""Names the characters of a text that nobody sees: what an editor or a shell left behind."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

NOT_TEXT: Final = "is not UTF-8 text"

# Controls, formats, surrogates and separators: what SASLprep (RFC 4013) maps away or prohibits.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_NAMES: Final[Mapping[str, str]] = {
    "\t": "tab",
    "\n": "line feed",
    "\r": "carriage return",
    "\0": "null",
    "\ufeff": "byte order mark",
}


def hidden(text: str, *, but: str = " ") -> int | None:
    """Return the index of the first character that cannot be seen and is not among ``but``."""
    # Each character is looked at once: certificates are long, and of few of them.
    found = {each for each in set(text) - set(but) if unicodedata.category(each) in _HIDDEN}
    return min(map(text.index, found), default=None)


def misfit(text: str, index: int, what: str) -> str:
    """Return that ``text`` has the character at ``index``, where that is, and no ``what`` has it.

    Of the text, nothing but that character is told. A surrogate stands for a byte that is no
    UTF-8 (PEP 383).
    """
    character = text[index]
    if unicodedata.category(character) == "Cs":
        return NOT_TEXT
    name = _NAMES.get(character) or unicodedata.name(character, "a control character").lower()
    before = text[:index].split("\n")
    place = f"character {len(before[-1]) + 1}"
    if len(before) > 1:
        place = f"{place} of line {len(before)}"
    last = character == "\n" and index == len(text) - 1
    hint = "; was it made with 'echo' where 'echo -n' was meant?" if last else ""
    return f"has U+{ord(character):04X} ({name}) at {place}, which no {what} may have{hint}"
