"""What others may call the mesh back for, each by a path that they alone were told."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Final, Protocol
from weakref import WeakValueDictionary

CONSENT: Final = "/webhooks/consent/"
"""Where the paths begin. No broker's does: it would have one part less."""


class Consenting(Protocol):
    """Somebody who waits for a subscriber's consent."""

    def take(self, allowed_rate: bytes | None) -> str | None:
        """Take the consent, or return in words why it is none.

        ``allowed_rate`` is the value of ``WebHook-Allowed-Rate`` (WebHook 1.0.2, section 4.2.2).
        """
        ...


class Callbacks:
    """Who waits for a consent in this process, as long as anybody keeps them."""

    def __init__(self) -> None:
        self._waiting: WeakValueDictionary[str, Consenting] = WeakValueDictionary()

    def expect(self, consenting: Consenting) -> str:
        """Return the path, which cannot be guessed, by which that one is called from now on."""
        path = CONSENT + token_urlsafe(32)
        self._waiting[path] = consenting
        return path

    def at(self, path: str) -> Consenting | None:
        """Return who waits there, or None where nobody does, any more or at all."""
        return self._waiting.get(path)
