"""Bodies, each up to a limit, and all together up to another."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from broker.errors import ChannelFull, TooLarge


class Intake:
    """The bodies that are being read or stored, counted in bytes.

    What has come in counts, not what a client announces: otherwise a few idle connections
    could announce everybody else away.
    """

    def __init__(self, *, max_event_bytes: int, max_pending_bytes: int) -> None:
        if max_pending_bytes < max_event_bytes:
            raise ValueError(
                f"max_pending_bytes is {max_pending_bytes}; it must not be less than "
                f"max_event_bytes, {max_event_bytes}"
            )
        self._max_event_bytes = max_event_bytes
        self._max_pending_bytes = max_pending_bytes
        self._pending = 0

    def announce(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Raise `TooLarge` or `ChannelFull` if a body is announced that `hold` would refuse."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit():
                self._admit(0, int(value))
                return

    def hold(self, size: int, more: int) -> None:
        """Count ``more`` bytes of a body of which ``size`` count, until `release` is told.

        Raises `TooLarge` or `ChannelFull`; the ``size`` bytes then still count.
        """
        pending = self._pending + more
        if size + more > self._max_event_bytes or pending > self._max_pending_bytes:
            self._admit(size, more)
        self._pending = pending

    def release(self, size: int) -> None:
        """Note that so many bytes are no longer held."""
        self._pending -= size

    async def read(self, receive: Receive) -> bytes:
        """Return the whole body, which counts until its size is given to `release`.

        Raises `TooLarge`, `ChannelFull`, and `ClientDisconnect`; the body then counts no more.
        """
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                self.hold(size, len(chunk))
                size += len(chunk)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except BaseException:
            self.release(size)
            raise

    def _admit(self, size: int, more: int) -> None:
        if size + more > self._max_event_bytes:
            raise TooLarge(f"the body is larger than the {self._max_event_bytes} bytes allowed")
        if self._pending + more > self._max_pending_bytes:
            raise ChannelFull("more events are coming in than can be stored at once")
