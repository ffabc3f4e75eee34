"""Requests over connections at rest, without a task for each: what most deliveries take.

A task, its deadline and a coroutine on each level cost more than the request itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sinks.http.address import Origin
from sinks.http.connection import Connection
from sinks.http.reader import NoAnswer, Response

Keep = Callable[[Connection, Origin], None]
"""Keep a connection for the next request."""

Came = Response | NoAnswer | None
"""What a request came to; None where its connection was closed while it was at rest."""


def _unheard(_: Came) -> None:
    pass


class Prompt:
    """A request that was begun, over a connection of ``origin``.

    ``done`` is told what it came to, once, unless it is cancelled. As `HttpClient.request` does
    it, None asks for another connection: that a peer closes those at rest says nothing about it.
    """

    __slots__ = ("_answer", "_connection", "_done", "_keep", "_origin", "_timer")

    def __init__(
        self,
        connection: Connection,
        origin: Origin,
        head: bytes,
        body: bytes,
        seconds: float,
        *,
        keep: Keep,
        done: Callable[[Came], None],
    ) -> None:
        self._connection = connection
        self._origin = origin
        self._keep = keep
        self._done = done
        self._answer = connection.start(head, body)
        self._answer.add_done_callback(self._answered)
        self._timer = asyncio.get_running_loop().call_later(
            seconds, connection.give_up, seconds, len(head) + len(body)
        )

    def cancel(self) -> None:
        """Break it off, with its connection. Nothing is told of it."""
        self._done = _unheard  # an answer that is there already would be told in a moment
        self._answer.cancel()

    def _answered(self, answer: asyncio.Future[Response]) -> None:
        connection = self._connection
        self._timer.cancel()
        connection.finish()
        if answer.cancelled():
            return
        try:
            response = answer.result()
        except NoAnswer as error:
            self._done(error if connection.heard or connection.gave_up else None)
            return
        if connection.reusable:
            self._keep(connection, self._origin)
        self._done(response)
