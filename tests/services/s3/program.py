"""Where the program comes from: S3Proxy, a jar that Maven fetches once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from tests.services.maven import Jars, jars_of
from tests.services.missing import Missing

_POM: Final = Path(__file__).with_name("pom.xml")
_KEPT: Final = Path(__file__).parents[3] / ".s3"
"""What is fetched; git ignores it."""

_ETAG: Final = "user.user.content-md5"


def find(kept: Path = _KEPT) -> Jars | Missing:
    """Return S3Proxy; its jar is fetched into ``kept`` if need be.

    Whoever comes second waits for whoever fetches it.
    """
    found = jars_of(_POM, kept)
    if isinstance(found, Missing):
        return Missing(reason=f"no S3 to test with: {found.reason}")
    with tempfile.NamedTemporaryFile() as file:
        try:
            mark(Path(file.name), b"")
        except (AttributeError, OSError):
            reason = f"the files of {tempfile.gettempdir()} can have no extended attributes"
            return Missing(reason=f"no S3 to test with: {reason}; say another folder by TMPDIR")
    return found


def mark(file: Path, content: bytes) -> None:
    """Let S3Proxy take the file, which has this content, for an object that was put there."""
    os.setxattr(file, _ETAG, hashlib.md5(content, usedforsecurity=False).digest())
