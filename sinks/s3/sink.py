"""Puts an object into a bucket for each event."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import ClassVar, Final, Self

from broker.codecs import http
from broker.connections.s3 import FAULTS, Bucket, S3Error, connected, said
from broker.event import Event
from broker.ports import Accepted, Answer, Refused
from sinks.s3.spec import S3SinkSpec

_PERMANENT: Final = frozenset({"EntityTooLarge", "KeyTooLongError", "MetadataTooLarge"})
"""What S3 says of an event that it will never take."""

_TOO_OFTEN: Final = frozenset({"SlowDown", "TooManyRequests"})
_PAUSE: Final = timedelta(seconds=2)


class S3Sink:
    """Puts an object for each event: accepted is what S3 has stored.

    The same event, tried again, is the same object.
    """

    Spec: ClassVar = S3SinkSpec

    def __init__(self, spec: S3SinkSpec) -> None:
        self._spec = spec
        self._within = AsyncExitStack()
        self._bucket: Bucket | None = None

    async def __aenter__(self) -> Self:
        self._bucket = await self._within.enter_async_context(connected(self._spec))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._within.aclose()

    async def attempt(self, event: Event) -> Answer:
        """Return once S3 has the object."""
        assert self._bucket is not None, "it is entered"  # noqa: S101 - tells mypy so
        try:
            key = self._spec.key_of(event)
        except ValueError as fault:
            return Refused(reason=str(fault), permanent=True)
        headers, body = http.encode(event, self._spec.content_mode)
        try:
            await self._bucket.put(key, body, dict(map(_stored, headers)))
        except S3Error as error:
            return Refused(
                reason=said(error, self._spec),
                permanent=error.code in _PERMANENT,
                retry_after=_PAUSE if error.code in _TOO_OFTEN else None,
            )
        except FAULTS as error:
            return Refused(reason=said(error, self._spec))
        return Accepted()


def _stored(header: tuple[bytes, bytes]) -> tuple[str, str]:
    """Return the header under which S3 keeps this one of a message of HTTP."""
    name, value = (each.decode("latin-1") for each in header)
    return (name if name == "content-type" else f"x-amz-meta-{name}"), value
