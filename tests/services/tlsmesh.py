"""A real mesh whose ports speak TLS, and clients of it.

    async with TlsMesh(tmp_path, manifest(broker())) as mesh:
        with mesh.connection() as connection: ...

Its files are in a folder as Kubernetes mounts a Secret, ``mesh.secret``.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tests.services.certificates import Authority, Issued, SecretVolume
from tests.services.mesh import HOST, Response, RunningMesh

WAIT = 30.0
"""Seconds within which whatever is waited for has to come."""


Port = Literal["data", "admin"]

_OPTIONS: Final = {"data": ("--tls", "--client-ca"), "admin": ("--admin-tls", "--admin-client-ca")}


class TlsMesh(RunningMesh):
    """A mesh, or a part, whose clients trust ``authority``, and ask it as ``operator``.

    ``secured`` are the ports that speak TLS, and ``knows`` those of them that ask their clients for
    a certificate of that authority.
    """

    def __init__(
        self,
        folder: Path,
        manifest: str,
        *,
        secured: Sequence[Port] = ("data", "admin"),
        knows: Sequence[Port] = (),
        part: str = "run",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.authority = Authority()
        self.issued = self.authority.issue()
        self.secret = SecretVolume(folder / "secret")
        self.secret.put(self.issued, self.authority.pem)
        self.folder = folder
        self.operator = self.authority.issue("ann.test", subject="ann")
        given: list[str] = []
        for port in secured:
            tls, client_ca = _OPTIONS[port]
            given += [f"{tls}-cert", str(self.secret.certificate)]
            given += [f"{tls}-key", str(self.secret.key)]
            given += [client_ca, str(self.secret.authority)] if port in knows else []
        super().__init__(
            folder / "mesh",
            manifest,
            part=part,
            arguments=[*given, *arguments],
            environment=environment,
            cwd=cwd,
        )
        of = {"data": self.port, "admin": self.admin_port}
        self._secured = frozenset(of[port] for port in secured)

    def renew(self) -> Issued:
        """Put another certificate in the place of the one before, and return it."""
        self.issued = self.authority.issue()
        self.secret.put(self.issued, self.authority.pem)
        return self.issued

    def trusting(self, shown: Issued | None = None) -> ssl.SSLContext:
        """Return what a client of it needs, which shows that certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority.pem.decode("ascii"))
        if shown is not None:
            file = self.folder / f"{shown.serial}.pem"
            file.write_bytes(shown.certificate + shown.key)
            context.load_cert_chain(file)
        return context

    @contextmanager
    def connection(
        self, context: ssl.SSLContext | None = None, *, port: int | None = None
    ) -> Iterator[http.client.HTTPSConnection]:
        """Connect to a port, that of events unless told otherwise."""
        connection = http.client.HTTPSConnection(
            HOST, port or self.port, timeout=WAIT, context=context or self.trusting()
        )
        try:
            connection.connect()
            yield connection
        finally:
            connection.close()

    def shown(self, *, port: int | None = None) -> str:
        """Return the serial number of the certificate that a new connection is shown."""
        with self.connection(port=port) as connection:
            assert isinstance(connection.sock, ssl.SSLSocket)
            certificate = connection.sock.getpeercert()
        return str((certificate or {})["serialNumber"])

    async def until_shown(self, issued: Issued, *, port: int | None = None) -> None:
        """Return once a new connection is shown that certificate."""

        def is_shown() -> bool:
            try:
                return self.shown(port=port) == issued.serial
            except ssl.SSLCertVerificationError:  # of the one before
                return False

        async with asyncio.timeout(WAIT):
            while not await asyncio.to_thread(is_shown):
                await asyncio.sleep(0.05)

    async def until_logged(self, *parts: str) -> str:
        """Return the line of its output in which all of these stand, once there is one."""
        async with asyncio.timeout(WAIT):
            while True:
                for line in self.output().splitlines():
                    if all(part in line for part in parts):
                        return line
                await asyncio.sleep(0.05)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        port: int | None = None,
    ) -> Response:
        """Send one request, as the operator where the port speaks TLS, and return the answer."""
        if (port or self.port) not in self._secured:
            return await super().request(method, path, headers=headers, body=body, port=port)

        def exchange() -> Response:
            with self.connection(self.trusting(self.operator), port=port) as connection:
                return ask(connection, method, path, headers=headers, body=body)

        return await asyncio.to_thread(exchange)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Response:
    """Send a request over a connection, and return the answer."""
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    named = {name.lower(): value for name, value in answer.getheaders()}
    return Response(status=answer.status, headers=named, body=answer.read())


def offered(mesh: TlsMesh, *protocols: str) -> str | None:
    """Return which of the protocols that a client offers (ALPN) the mesh takes."""
    context = mesh.trusting()
    context.set_alpn_protocols(protocols)
    with (
        socket.create_connection((HOST, mesh.port), timeout=WAIT) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secured,
    ):
        return secured.selected_alpn_protocol()
