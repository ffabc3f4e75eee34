"""Access tokens that something else keeps in a file, as Kubernetes does with those it projects."""

from __future__ import annotations

import asyncio
import re
import stat
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from sinks.http.grants import Grant, Grants, NotGranted, Start
from sinks.http.oauth2 import Tokens

_LASTS: Final = timedelta(seconds=75)
"""How long a token is used. The file is read again when four fifths of it, a minute, are over."""

_LONGEST_PAUSE: Final = timedelta(seconds=10)

_ANEW: Final = timedelta(seconds=1)
"""Between two looks into the file because a subscriber answers 401."""

_LARGEST: Final = 64 << 10
_TOKEN: Final = re.compile(rb"[!-~]+")


def tokens(path: str, start: Start) -> Tokens:
    """Return what takes tokens from the file at ``path``; reads nothing yet."""
    what = f"reading the token file {path}"
    ask = partial(_ask, Path(path))
    return Grants(what, path, ask, start, longest_pause=_LONGEST_PAUSE, anew=_ANEW)


async def _ask(path: Path) -> Grant[bytes]:
    """Return the token as a header's value. Raises `NotGranted`, whatever went wrong."""
    try:
        token = await asyncio.to_thread(_content, path)
    except OSError as error:
        raise NotGranted(f"the token file {path} cannot be read: {error.strerror}") from None
    if not token:
        raise NotGranted(f"the token file {path} is empty")
    if not _TOKEN.fullmatch(token):
        raise NotGranted(f"the token file {path} holds something else than one token")
    return Grant(value=b"Bearer " + token, lasts=_LASTS)


def _content(path: Path) -> bytes:
    """Return what the file holds, without blanks around it. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):  # reading from a device may never end
        raise OSError(0, "it is not a file")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(0, "it is too large")
    return content.strip()
