"""What was seen already: what a source saves of its upstream, in no more than 64 KiB."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from broker.ports import Json
from sources.httppoller.exchange import Response
from sources.httppoller.spec import HttpPollerSpec

MOST: Final = 5_000
"""Elements that are known again. In base64, and beside all else, so many keys fit into 64 KiB."""

_KEY_SIZE: Final = 8
_LONGEST: Final = 1024
"""Characters of a validator that is kept; without a longer one, all is asked for each time."""

_VALIDATORS: Final = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


def key_of(*parts: bytes) -> bytes:
    """Return what stands for these: of 5,000 and a new one, two are alike once in 10¹⁵ times."""
    return sha256(b"\0".join(parts)).digest()[:_KEY_SIZE]


class Memory:
    """What of a spec's upstream was seen. Of another spec nothing was.

    ``body`` is the digest of the last body, ``changes`` says how many there were.
    """

    def __init__(self, spec: HttpPollerSpec, stored: Mapping[str, Any] | None) -> None:
        asked = "\n".join((spec.url, spec.items or "", spec.item_id or ""))
        self._of = sha256(asked.encode()).hexdigest()
        stored = stored or {}
        self.changes: int = stored.get("changes", 0)  # goes on, so that no id is given twice
        if stored.get("of") != self._of:
            stored = {}
        self.body: str | None = stored.get("body")
        self._validators: dict[str, str] = stored.get("validators", {})
        keys = b64decode(stored.get("seen", ""))
        self._seen = dict.fromkeys(
            keys[at : at + _KEY_SIZE] for at in range(0, len(keys), _KEY_SIZE)
        )

    def stored(self) -> dict[str, Json]:
        """Return what another memory begins with."""
        return {
            "of": self._of,
            "changes": self.changes,
            "body": self.body,
            "validators": {**self._validators},
            "seen": b64encode(b"".join(self._seen)).decode(),
        }

    # --- what the server is asked ----------------------------------------------------------

    def conditions(self) -> list[tuple[str, str]]:
        """Return the headers that ask for what is newer (RFC 9110, section 13.1)."""
        return [(_VALIDATORS[name], text) for name, text in self._validators.items()]

    def validated(self, response: Response) -> bool:
        """Keep what the response says of its age; return whether that is news."""
        before = self._validators
        self._validators = {
            name: text
            for name in _VALIDATORS
            if (text := response.header(name)) and len(text) <= _LONGEST and text.isascii()
        }
        return before != self._validators

    # --- what was seen ---------------------------------------------------------------------

    def knows(self, key: bytes) -> bool:
        return key in self._seen

    def see(self, keys: Iterable[bytes]) -> None:
        """Know these; what has not been there for longest is forgotten where there are too many."""
        for key in keys:
            self._seen.pop(key, None)
            self._seen[key] = None
        while len(self._seen) > MOST:
            del self._seen[next(iter(self._seen))]
