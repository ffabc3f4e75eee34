"""The connections of producers, shared out among the processes of a mesh."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final, Self

_log: Final = logging.getLogger("cemesh.workers")

Take = Callable[[socket.socket], bool]
"""Takes a connection, or returns that it does not."""

_AT_ONCE: Final = 100
_AGAIN: Final = 1.0
"""Seconds after which it is tried again to accept, where the system lets no more files be open."""


class Connections:
    """Accepts what comes to a listener, and hands each connection to the next in turn.

    Turns, and not whoever is quickest: of connections that come at a time one process would get
    most. ``first`` always takes one; the others may decline. Accepts while entered, until `close`.
    """

    def __init__(self, listener: socket.socket, first: Take, others: Sequence[Take]) -> None:
        self._listener = listener
        self._takers = [first, *others]
        self._turn = 0

    def __enter__(self) -> Self:
        self._listener.settimeout(0)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Accept no more."""
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rest(error)
                return
            self._hand(connection)

    def _hand(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        takers = self._takers
        for _ in takers:
            self._turn = (self._turn + 1) % len(takers)
            if takers[self._turn](connection):
                return
        connection.close()

    def _rest(self, error: OSError) -> None:
        loop = asyncio.get_running_loop()
        _log.error("no connection can be accepted", extra={"why": str(error), "again_in": _AGAIN})
        loop.remove_reader(self._listener)
        loop.call_later(_AGAIN, self._go_on)

    def _go_on(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)
