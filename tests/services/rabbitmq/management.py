"""What an operator does to a server while it runs, by its management plug-in's HTTP API."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Final, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from tests.services.rabbitmq.settings import PASSWORD, USER

_Kind = TypeVar("_Kind")

_ANSWERED_WITHIN: Final = 30  # seconds


class Refused(Exception):
    """The server did not do what it was asked to; the message says what, and what it answered."""


class Management:
    """The API at ``address``, which is ``host:port``, asked by USER.

    A path is given by its parts: ``management.get(list[Queue], "queues", vhost)``. What the
    server knows of connections and depths is half a second old.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, kind: type[_Kind], *path: str) -> _Kind:
        """Return what is there."""
        return msgspec.json.decode(self._ask("GET", path), type=kind)

    def put(self, *path: str, body: object = None) -> None:
        """Put it there: a vhost, a user, permissions, a policy, a queue."""
        self._ask("PUT", path, body)

    def delete(self, *path: str) -> None:
        """Remove what is there, as closing a connection does."""
        self._ask("DELETE", path)

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """Yield the name of a vhost that is there, and USER's, while the context lasts."""
        name = f"test-{uuid4()}"
        self.put("vhosts", name)
        try:
            yield name
        finally:
            self.delete("vhosts", name)

    def close_connections(self, vhost: str, *, at_least: int = 1, within: float = 30) -> int:
        """Close all connections to a vhost that are known, as soon as so many are.

        One is known some time after it is there. Returns how many there were.

        Raises:
            TimeoutError: There were fewer ``within`` so many seconds.
        """
        deadline = time.monotonic() + within
        known = "vhosts", vhost, "connections"
        while len(found := self.get(list[dict[str, object]], *known)) < at_least:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} connections to {vhost}, not {at_least}")
            time.sleep(0.05)
        for each in found:
            self.delete("connections", str(each["name"]))
        return len(found)

    def answers(self) -> bool:
        """Return whether the API answers USER."""
        try:
            self._ask("GET", ("whoami",))
        except (OSError, HTTPException, Refused):
            return False
        return True

    def _ask(self, method: str, path: tuple[str, ...], body: object = None) -> bytes:
        target = "/".join(("/api", *(quote(part, safe="") for part in path)))
        connection = HTTPConnection(self._address, timeout=_ANSWERED_WITHIN)
        try:
            connection.request(
                method,
                target,
                body=msgspec.json.encode(body if body is not None else {}),
                headers={
                    "Authorization": f"Basic {base64.b64encode(_CREDENTIALS).decode()}",
                    "Content-Type": "application/json",
                },
            )
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            said = answer.decode(errors="replace")
            raise Refused(f"{method} {target}: {response.status} {said}")
        return answer


_CREDENTIALS: Final = f"{USER}:{PASSWORD}".encode()
