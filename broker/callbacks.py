"""What others may call the mesh back for, each by a path that they alone were told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
    """Who waits for a consent in this process, as long as anybody keeps them.

    ``elsewhere`` does what `take_here` does for those who wait in other processes of the mesh.
    """

    def __init__(self) -> None:
        self.elsewhere: Callable[[str, bytes | None], Awaitable[str | None]] = _nowhere
        self._waiting: WeakValueDictionary[str, Consenting] = WeakValueDictionary()

    def expect(self, consenting: Consenting) -> str:
        """Return the path, which cannot be guessed, by which that one is called from now on."""
        path = CONSENT + token_urlsafe(32)
        self._waiting[path] = consenting
        return path

    def at(self, path: str) -> Consenting | None:
        """Return who waits there, or None where nobody does, any more or at all."""
        return self._waiting.get(path)

    def take_here(self, path: str, allowed_rate: bytes | None) -> str | None:
        """Hand the consent to who waits there; see `Consenting.take`.

        Raises `LookupError` where nobody does.
        """
        consenting = self.at(path)
        if consenting is None:
            raise LookupError(path)
        return consenting.take(allowed_rate)

    async def take(self, path: str, allowed_rate: bytes | None) -> str | None:
        """Do the same, also where it is another process in which somebody waits."""
        try:
            return self.take_here(path, allowed_rate)
        except LookupError:
            return await self.elsewhere(path, allowed_rate)


async def _nowhere(path: str, allowed_rate: bytes | None) -> str | None:
    raise LookupError(path)
