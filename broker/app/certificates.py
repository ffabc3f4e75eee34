"""Certificates of our own ports, and authorities that deliveries trust: read again as files change.

A file is watched as manifests are (`broker.manifest.watch`), which sees the links that Kubernetes
swaps above the files of a Secret. What comes of it is for new connections; those that are there go
on with what they had.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from broker.errors import CemeshError
from broker.manifest.watch import changes
from broker.settings import TlsFiles
from broker.tls import CaFile, expiries, read_certificates, read_pair, serial, server_context

_log: Final = logging.getLogger("cemesh.tls")

PortName = Literal["data", "admin"]


class Renewed(Protocol):
    """What was made of ``files``."""

    @property
    def files(self) -> Sequence[Path]: ...

    def read_again(self) -> None:
        """Take up what the files hold now, or log why not and keep what was there before."""


@asynccontextmanager
async def kept_fresh(everything: Sequence[Renewed]) -> AsyncIterator[None]:
    """Keep all of these as their files are while the context lasts."""
    watching = [asyncio.create_task(_keep_fresh(each)) for each in everything]
    try:
        yield
    finally:
        for task in watching:
            task.cancel()
        if watching:
            await asyncio.wait(watching)


async def _keep_fresh(each: Renewed) -> None:
    changed = changes(each.files)
    await asyncio.to_thread(each.read_again)  # what has changed since they were read at first
    async for _ in changed:
        await asyncio.to_thread(each.read_again)


class PortCertificate:
    """The certificate by which a port speaks TLS, with its key and the authorities of clients.

    ``context`` is for a new connection. Until when the certificate is valid is noted in
    ``expiring``. Making one reads the files, and raises a `CemeshError` where they are of no use.
    """

    def __init__(
        self, port: PortName, files: TlsFiles, expiring: MutableMapping[str, datetime]
    ) -> None:
        self._port = port
        self._files = files
        self._expiring = expiring
        try:
            self._texts = self._read()
        except ValueError as error:
            raise CemeshError(f"the {port} port cannot speak TLS: {error}") from None
        self.context = self._take_up()

    @property
    def files(self) -> Sequence[Path]:
        return list(filter(None, (self._files.certificate, self._files.key, self._files.client_ca)))

    @property
    def demands(self) -> bool:
        """Whether clients have to show a certificate."""
        return self._files.client_ca is not None

    def read_again(self) -> None:
        try:
            texts = self._read()
        except ValueError as error:
            _log.error("certificate not taken up", extra={"port": self._port, "why": str(error)})
            return
        if texts == self._texts:
            return
        self._texts = texts
        self.context = self._take_up()
        _log.info("certificate renewed", extra=self._told())

    def _read(self) -> tuple[str, str, str | None]:
        """Return certificate, key and authorities. Raises ValueError, saying what is wrong."""
        certificate, key = read_pair(self._files.certificate, self._files.key)
        client_ca = self._files.client_ca
        return certificate, key, None if client_ca is None else read_certificates(client_ca)

    def _take_up(self) -> ssl.SSLContext:
        """Return the context of what was read, and note until when that is valid."""
        certificate, key, clients = self._texts
        # Of the admin port, whoever shows no certificate may ask whether all is well, and no more.
        context = server_context(certificate, key, clients, demand=self._port == "data")
        expires = min(expiries(certificate), default=None)
        if expires is None:
            self._expiring.pop(self._port, None)
            return context
        self._expiring[self._port] = expires
        if expires <= datetime.now(UTC):
            _log.warning("certificate expired", extra=self._told())
        return context

    def _told(self) -> dict[str, object]:
        """Return what the log says of the certificate."""
        expires = self._expiring.get(self._port)
        return {
            "port": self._port,
            "serial": serial(self._texts[0]),
            "expires": None if expires is None else expires.isoformat(),
        }


class Authorities:
    """Has a file of authorities read again."""

    def __init__(self, file: CaFile) -> None:
        self._file = file

    @property
    def files(self) -> Sequence[Path]:
        return [self._file.path]

    def read_again(self) -> None:
        try:
            is_another = self._file.read_again()
        except ValueError as error:
            _log.error("authorities not taken up", extra={"why": str(error)})
            return
        if is_another:
            _log.info("authorities renewed", extra={"file": str(self._file.path)})
