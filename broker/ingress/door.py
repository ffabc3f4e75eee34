"""The door of the data port: who may come in, what comes in, and how the others are told.

It knows nothing of servers. Events come through it by the ASGI application (`broker.ingress.app`)
and, faster, by the protocol that `cemesh run` gives uvicorn (`broker.app.events`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from starlette.responses import Response

from broker.codecs.http import decode
from broker.event import Event
from broker.ingress.access import Headers, check_access
from broker.ingress.hops import take_in
from broker.ingress.intake import Intake
from broker.ingress.problems import answer_to, problem, reason_for
from broker.ports import UNWATCHED, Emit, Origin, Tracer, Watcher
from broker.tracecontext import of_raw_headers
from broker.trigger import Access, Broker

_log: Final = logging.getLogger("cemesh.ingress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """A broker as the ingress sees it: who may come in, and where what comes in goes."""

    broker: Broker
    emit: Emit


Find = Callable[[str], Entrance | None]
"""Return the broker ``namespace/name``, or None where none of that name takes events."""


class Door:
    """The way in to all brokers of a mesh.

    ``find`` and ``clients``, the accesses of all brokers, are asked at every request, so that
    both may change. ``max_event_bytes`` bounds the body of one request, ``max_pending_bytes``
    all bodies together that are being read or stored. ``watch`` is told of what brokers accept
    and refuse; ``tracer``, where there is one, gives what comes in spans.
    """

    def __init__(
        self,
        find: Find,
        *,
        clients: Callable[[], Iterable[Access]],
        max_event_bytes: int,
        max_pending_bytes: int,
        watch: Watcher = UNWATCHED,
        tracer: Tracer | None = None,
    ) -> None:
        self.find = find
        self.intake = Intake(max_event_bytes=max_event_bytes, max_pending_bytes=max_pending_bytes)
        self._clients = clients
        self._watch = watch
        self.refused = watch.refused
        self.tracer = tracer

    def check(self, entrance: Entrance, headers: Headers) -> str | None:
        """Return who sends a request with these headers, which may go on to its body.

        None where the broker asks nobody who they are. Raises `Unauthenticated`, `Forbidden`,
        `TooLarge` or `ChannelFull`.
        """
        sender = None
        if entrance.broker.access is not None:
            sender = check_access(entrance.broker, self._clients, headers)
        self.intake.announce(headers)
        return sender

    def events(self, headers: Headers, body: bytes) -> Sequence[Event]:
        """Return the events of a request, of which there may be none.

        Raises `InvalidEvent` or `UnsupportedContent`.
        """
        return take_in(decode(headers, body))

    def told(self, attributes: Mapping[str, str], body: bytes) -> Sequence[Event]:
        """Return the events of a request whose head is known to tell these attributes, checked.

        Where they are in the body, that is the Content-Type alone. Raises as `events` does.
        """
        if len(attributes) == 1:
            return self.events([(b"content-type", attributes["datacontenttype"].encode())], body)
        return take_in([Event(attributes, body or None)])

    def accepted(
        self, entrance: Entrance, events: Sequence[Event], origin: Origin, began: float
    ) -> None:
        """Note that the events of a request are durable, which ``began`` then, by `monotonic`."""
        self._watch.accepted(entrance.broker.key, events, origin, monotonic() - began)

    def refusal(
        self, entrance: Entrance, error: BaseException, headers: Headers, began: float
    ) -> Response:
        """Return how to answer a request that failed so, and note that it was refused.

        It had these headers, and ``began`` then, by `monotonic`. What is not for the client is
        logged.
        """
        answer = answer_to(error)
        if answer is None:
            _log.error("event not taken", exc_info=error, extra={"broker": entrance.broker.key})
            answer = problem(500)
        elif _log.isEnabledFor(logging.DEBUG):
            extra = {"broker": entrance.broker.key, "status": answer.status_code}
            _log.debug("refused", extra={**extra, "why": str(error)})
        broker, status, reason = entrance.broker.key, answer.status_code, reason_for(error)
        self.refused(broker, status, reason)
        if self.tracer is not None:
            parent, seconds = of_raw_headers(headers), monotonic() - began
            self.tracer.refuse(broker, status, reason, parent=parent, seconds=seconds)
        return answer


def sent_by(address: str, sender: str | None = None) -> Origin:
    """Return the origin of a request from that address, by the client of that name if known."""
    return Origin("request", address if sender is None else f"{sender} at {address}")
