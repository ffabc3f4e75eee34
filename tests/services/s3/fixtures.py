"""S3 for any test that asks for it, as a plug-in of pytest.

``s3_bucket`` is a bucket of the test's own on the server that one test run shares. ``s3_relay`` is
a way there that a test can cut, and ``s3_server`` a server of the test's own, to be entered, killed
and restarted; ``s3_encrypted`` is one that speaks TLS, and runs.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from tests.services.maven import Jars
from tests.services.mesh import HOST, free_port
from tests.services.relay import Relay
from tests.services.s3.program import find, mark
from tests.services.s3.server import ACCESS_KEY, SECRET_KEY, Listeners, S3Server
from tests.services.sharing import SharedServer

_S3: Final = SharedServer("s3", "S3Proxy", Listeners, find=find)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBucket:
    """A bucket that is there, and the folder that has its objects as files."""

    listeners: Listeners
    name: str

    @classmethod
    def made(cls, listeners: Listeners) -> GivenBucket:
        bucket = cls(listeners=listeners, name=f"b-{uuid.uuid4()}")
        bucket.folder.mkdir(0o700)  # others may not even list it
        return bucket

    @property
    def folder(self) -> Path:
        return Path(self.listeners.folder, "buckets", self.name)

    def place(self, key: str, content: bytes = b"", *, modified: datetime | None = None) -> None:
        """Let an object be there that was last modified then, or now."""
        file = self.staged()
        file.write_bytes(content)
        mark(file, content)
        if modified is not None:
            os.utime(file, (modified.timestamp(), modified.timestamp()))
        self.publish(file, key)

    def staged(self) -> Path:
        """Return where an object may be made that nobody lists: in a bucket beside this one."""
        beside = self.folder.with_name("staged")
        beside.mkdir(0o700, exist_ok=True)
        return beside / str(uuid.uuid4())

    def publish(self, file: Path, key: str) -> None:
        """Let a staged object be there under that key, and all of it at once."""
        target = self.folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)

    @property
    def spec(self) -> dict[str, object]:
        """What a ``spec`` says to get there."""
        return {
            "endpoint": self.listeners.url,
            "bucket": self.name,
            "accessKeyId": ACCESS_KEY,
            "secretAccessKey": SECRET_KEY,
        }


@pytest.fixture
def s3_bucket(s3_listeners: Listeners) -> GivenBucket:
    return GivenBucket.made(s3_listeners)


@pytest.fixture
async def s3_relay(s3_listeners: Listeners) -> AsyncIterator[Relay]:
    """Return a relay before the shared server: ``relay.in_url(url)`` leads there."""
    async with Relay(f"{HOST}:{free_port()}", to=s3_listeners.address) as relay:
        yield relay


@pytest.fixture(scope="session")
def s3_listeners(
    s3_jars: Jars, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Listeners:
    """Return where the shared server is."""

    def start(folder: Path, owner: int) -> tuple[S3Server, Listeners]:
        server = S3Server(folder, s3_jars, owner=owner)
        server.start()
        return server, server.listeners

    return _S3.place(start, tmp_path_factory, pytestconfig)


@pytest.fixture
def s3_server(s3_jars: Jars, tmp_path: Path) -> S3Server:
    """Return a server of this test's own, to be entered."""
    return S3Server(tmp_path / "s3", s3_jars)


@pytest.fixture
def s3_encrypted(s3_jars: Jars, tmp_path: Path) -> Iterator[S3Server]:
    with S3Server(tmp_path / "s3-tls", s3_jars, encrypted=True) as server:
        yield server


@pytest.fixture(scope="session")
def s3_jars(pytestconfig: pytest.Config) -> Jars:
    """Return what to run servers with."""
    return _S3.program(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_S3)
