"""What calls a source that is called, instead of looking for events itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from broker.ports.sources import Emitter


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request, whole. ``query`` is what stood behind the ``?``, without it.

    ``headers`` are in their order, their names in lower case.
    """

    method: str = "POST"
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of that header, by its name in lower case; of several, the first."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What the request is answered with; 202 and nothing unless something else is said."""

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Receiver(Protocol):
    """A source that is called: it gets the requests to ``/KINDs/NAMESPACE/NAME`` of the data port.

    ``KIND`` is its kind in lower case. It is made as a `Source` is, in each process that takes
    events, and gets many requests at a time.
    """

    async def receive(self, request: HttpRequest, emit: Emitter) -> HttpReply | None:
        """Emit what the request tells, and return how to answer it: None is an empty 202.

        ``emit`` does not wait here: what it raises, let through, is the right answer, a 503 with
        ``Retry-After`` where the broker's store is away, a 400 that says what is wrong with an
        event. Anything else that is raised is answered 500.
        """
        ...
