"""Buckets as others see them: for tests of what reads and writes them."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Final

from aiohttp import ClientPayloadError

from broker.codecs.json import decode_event
from broker.connections.s3 import Bucket, Listed, S3Access, connected
from broker.event import Event
from cemesh.testing import RunningSource, running
from sinks.s3 import S3Sink, S3SinkSpec
from sources.s3 import S3Source, S3Spec
from tests.services.relay import Relay
from tests.services.s3.fixtures import GivenBucket

OFTEN = "PT0.1S"

# S3Proxy shows what it is writing still, by such a key, and at first without an ETag: S3 does not.
_UNFINISHED: Final = re.compile("-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/?$")


def client(bucket: GivenBucket) -> AbstractAsyncContextManager[Bucket]:
    return connected(S3Access.model_validate(bucket.spec))


async def put(
    bucket: GivenBucket, key: str, data: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Let an object be there, stored by the server, and not to be seen before it is whole."""
    staged = bucket.staged()
    async with client(replace(bucket, name=staged.parent.name)) as s3:
        await s3.put(f"{staged.name}{'/' if key.endswith('/') else ''}", data, headers or {})
    bucket.publish(staged, key)


async def objects(bucket: GivenBucket, prefix: str = "") -> Sequence[Listed]:
    """Return all objects, in the order of their keys."""
    found: list[Listed] = []
    token: str | None = None
    async with client(bucket) as s3, asyncio.timeout(30):
        while True:
            try:
                page = await s3.list(prefix, after=None, token=token)
            except ClientPayloadError as error:
                if "has no ETag" not in str(error):
                    raise
                continue
            found += [each for each in page.objects if not _UNFINISHED.search(each.key)]
            token = page.token
            if token is None:
                return found


async def keys(bucket: GivenBucket, prefix: str = "") -> set[str]:
    return {each.key for each in await objects(bucket, prefix)}


async def until_empty(bucket: GivenBucket, prefix: str = "") -> None:
    async with asyncio.timeout(30):
        while await keys(bucket, prefix):
            await asyncio.sleep(0.02)


async def content(bucket: GivenBucket, listed: Listed) -> bytes:
    async with client(bucket) as s3, s3.open(listed) as body:
        return await body.whole()


def modify(bucket: GivenBucket, key: str, when: datetime) -> None:
    """Let the object be one that was last modified then."""
    os.utime(bucket.folder / key, (when.timestamp(), when.timestamp()))


def read(
    bucket: GivenBucket, /, *, name: str = "uploads", **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    asked = {**bucket.spec, "interval": OFTEN, **spec}
    return running(S3Source, S3Spec.model_validate(asked), name=name)


class ObjectsOfABucket:
    """A bucket that gets an object for each thing."""

    def __init__(self, bucket: GivenBucket) -> None:
        self._bucket = bucket
        self.source: object = S3Source
        self.spec: object = S3Spec.model_validate(
            {**bucket.spec, "interval": OFTEN, "content": "data"}
        )

    async def bring(self, number: int) -> None:
        await put(self._bucket, f"{number}.txt", str(number).encode())

    def number_of(self, event: Event) -> int:
        return int(event.data or b"")


class BucketOfEvents:
    """A bucket, and a way to it that can be cut."""

    def __init__(self, bucket: GivenBucket, relay: Relay) -> None:
        self._bucket = bucket
        self._relay = relay
        self.sink: object = S3Sink
        self.spec: object = S3SinkSpec.model_validate(
            {**bucket.spec, "endpoint": relay.in_url(bucket.listeners.url)}
        )

    async def arrived(self, count: int) -> Sequence[Event]:
        found = await objects(self._bucket)
        return [decode_event(await content(self._bucket, each)) for each in found]

    def outage(self) -> AbstractContextManager[None]:
        return self._relay.cut()
