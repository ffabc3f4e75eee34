"""Looks host names up without letting a slow name server hold up other destinations."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final, Self

from sinks.http.reader import NoAnswer

Lookup = Callable[[str, int], Sequence[str]]
"""Return the addresses of a host, best first; raises `socket.gaierror`. Runs in a thread."""

_THREADS: Final = 32
_UNKNOWN: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


def system_lookup(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Names:
    """Name lookups in threads of their own, one at a time for each name.

    The event loop's own threads are few and shared with everything else; with one name
    server out of order, deliveries that retry would soon hold all of them.
    """

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="cemesh-names")
        self._running: dict[tuple[str, int], asyncio.Future[Sequence[str] | NoAnswer]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the IP addresses of ``host``, at least one, or raise `NoAnswer`."""
        if _is_address(host):
            return [host]
        key = (host, port)
        running = self._running.get(key)
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, self._found, host, port)
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key))
        # Whoever gives up waiting must not end the lookup for the others.
        found = await asyncio.shield(running)
        if isinstance(found, NoAnswer):
            raise NoAnswer(found.reason)
        return found

    def _found(self, host: str, port: int) -> Sequence[str] | NoAnswer:
        try:
            return self._lookup(host, port)
        except socket.gaierror as error:
            if error.errno in _UNKNOWN:
                return NoAnswer(f"name not found: {host}")
            return NoAnswer(f"name not resolved: {host}: {error.strerror}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
