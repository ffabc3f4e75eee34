"""What the contract needs of a storage system: restarts, and a store that can go away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol

from broker.ports import Backend, Channel

BROKER = "default/default"


class Harness(Protocol):
    """One backend under test."""

    def backend(self) -> Backend:
        """Return a backend over what was stored before; entering it is a restart."""
        ...

    def outage(self) -> AbstractContextManager[None]:
        """Take the store away from the running backend while the context lasts."""
        ...


@asynccontextmanager
async def running(harness: Harness) -> AsyncIterator[Channel]:
    """Run the backend and yield the channel of the one broker that the contract uses."""
    async with harness.backend() as backend:
        yield await backend.channel(BROKER, {}, {})
