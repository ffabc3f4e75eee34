"""Reads bodies, each up to a limit, and all together up to another."""

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

    async def read(self, headers: Sequence[tuple[bytes, bytes]], receive: Receive) -> bytes:
        """Return the whole body, which counts until it is given to `release`.

        Raises `TooLarge`, at once where Content-Length tells, `ChannelFull`, and
        `ClientDisconnect`; the body then counts no more.
        """
        self._admit(0, _content_length(headers))
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                self._admit(size, len(chunk))
                size += len(chunk)
                self._pending += len(chunk)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except BaseException:
            self._pending -= size
            raise

    def release(self, body: bytes) -> None:
        """Note that this body is no longer held."""
        self._pending -= len(body)

    def _admit(self, size: int, more: int) -> None:
        if size + more > self._max_event_bytes:
            raise TooLarge(f"the body is larger than the {self._max_event_bytes} bytes allowed")
        if self._pending + more > self._max_pending_bytes:
            raise ChannelFull("more events are coming in than can be stored at once")


def _content_length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
