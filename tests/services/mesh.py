"""The real mesh: ``cemesh run`` as a process of its own.

    async with RunningMesh(tmp_path, MANIFEST) as mesh:
        assert await mesh.send("default/default", event) == 202
        await mesh.kill9()
        await mesh.start()
        await mesh.until(lambda status: trigger(status, "default/orders").delivered == 1)

Manifests, data directory, ports and output outlive the process, so that what is started
again is the same mesh. When a test fails, the end of the output is shown with the failure.
``part="ingress"``, ``"dispatcher"`` or ``"sources"`` runs that part of a mesh alone.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import socket
import subprocess
import sysconfig
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from broker.admin.models import StatusDocument, TriggerDocument
from broker.event import Event

CEMESH = Path(sysconfig.get_path("scripts"), "cemesh")

HOST = "127.0.0.1"

# Below what the kernel gives to outgoing connections (32768 upwards on Linux): a port that
# is free stays free, also while the mesh is down between two starts.
_PORTS = range(12_000, 32_000)

_LATELY = 500
"""Ports that are not given again so soon: whoever was given one may not listen on it yet."""

_given: deque[int] = deque(maxlen=_LATELY)
_random = random.SystemRandom()  # Hypothesis begins the other one anew, the same in each worker

_NO_ANSWER = (OSError, http.client.HTTPException)


def free_port() -> int:
    """Return a port that nothing listens on, and that no client and no other worker is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = _random.choice(_PORTS[worker % workers :: workers])
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _given.append(port)
        return port


def free_ports(count: int) -> Sequence[int]:
    """Return so many of them, no two the same."""
    return [free_port() for _ in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP answer of the mesh; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RunningMesh:
    """``cemesh run``, or a part of it, on ``manifest``, running while this is entered.

    ``folder`` takes everything: ``manifests/mesh.yaml``, to be changed at will, the data
    directory and the output. ``arguments`` are added to the command line, ``environment`` to what
    there is but for the variables of cemesh. The process is started in the folder ``cwd``.
    """

    def __init__(
        self,
        folder: Path,
        manifest: str,
        *,
        part: str = "run",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.manifest = folder / "manifests" / "mesh.yaml"
        self.data_dir = folder / "data"
        self.port = free_port()
        self.admin_port = free_port()
        self._log = folder / "cemesh.log"
        self._command: list[str | Path] = [
            *(CEMESH, part, self.manifest.parent),
            *(("--data-dir", self.data_dir) if part == "run" else ()),
            *(("--host", HOST, "--port", str(self.port)) if part in ("run", "ingress") else ()),
            *("--admin-host", HOST, "--admin-port", str(self.admin_port)),
            *arguments,
        ]
        self._environment = environment or {}
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self.manifest.parent.mkdir(parents=True)
        self.manifest.write_text(manifest)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill9()
            raise
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            await self.terminate()
        except TimeoutError:
            await self.kill9()
        if error is not None:
            error.add_note(self.output_end())

    # --- the process -----------------------------------------------------------------------

    async def start(self, *, within: float = 30) -> None:
        """Start the process and return once it takes events."""
        assert self._process is None, "it is running"
        settings = {
            name: value for name, value in os.environ.items() if not name.startswith("CEMESH_")
        }
        settings |= self._environment
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=settings,
                cwd=self._cwd,
            )
        try:
            async with asyncio.timeout(within):
                while not await self._ready():
                    await asyncio.sleep(0.02)
        except TimeoutError as late:
            late.add_note(self.output_end())
            raise

    async def _ready(self) -> bool:
        code = self._running().poll()
        if code is not None:
            message = f"cemesh ended with {code} before it was ready\n{self.output_end()}"
            raise RuntimeError(message)
        try:
            return (await self.request("GET", "/readyz", port=self.admin_port)).status == 200
        except _NO_ANSWER:
            return False

    async def kill9(self) -> None:
        """End the process as a crash would, and return once it is gone."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    async def terminate(self, *, within: float = 20) -> int:
        """Send SIGTERM and return the exit code; raise TimeoutError if it does not end.

        A process that has ended already counts as 0.
        """
        if self._process is None:
            return 0
        self._process.terminate()
        return await self.ended(within=within)

    async def ended(self, *, within: float = 20) -> int:
        """Return the exit code once the process has ended; raise TimeoutError if it does not."""
        try:
            code = await asyncio.to_thread(self._running().wait, within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"cemesh still runs after {within} s") from None
        self._process = None
        return code

    @property
    def pid(self) -> int:
        return self._running().pid

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it is not running"
        return self._process

    def output(self) -> str:
        """Return all that the processes of this mesh have printed."""
        return self._log.read_text(errors="backslashreplace") if self._log.exists() else ""

    def output_end(self) -> str:
        """Return the last lines that were printed."""
        lines = self.output().splitlines()[-60:]
        return "\n".join(["--- the end of what cemesh printed", *lines, "---"])

    # --- events in -------------------------------------------------------------------------

    async def send(self, broker: str, event: Event) -> int:
        """Send the event in binary mode to ``namespace/name``, and return the status."""
        headers, body = _binary(event)
        return (await self.request("POST", f"/{broker}", headers=headers, body=body)).status

    async def send_all(
        self, broker: str, events: Sequence[Event], *, at_once: int = 16
    ) -> list[int | None]:
        """Send the events over ``at_once`` connections, and return the statuses in their order.

        None is where no answer came: that event may have been accepted all the same.
        """
        statuses: list[int | None] = [None] * len(events)
        queue = iter(enumerate(events))
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(at_once) as pool:
            await asyncio.gather(
                *(
                    loop.run_in_executor(pool, self._send_queue, broker, queue, statuses)
                    for _ in range(at_once)
                )
            )
        return statuses

    def _send_queue(
        self, broker: str, queue: Iterator[tuple[int, Event]], statuses: list[int | None]
    ) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        for index, event in queue:
            headers, body = _binary(event)
            try:
                connection.request("POST", f"/{broker}", body, headers)
                answer = connection.getresponse()
                answer.read()
                statuses[index] = answer.status
            except _NO_ANSWER:
                connection.close()
        connection.close()

    # --- what it says of itself ------------------------------------------------------------

    async def status(self) -> StatusDocument:
        """Return what the admin API tells of the mesh."""
        answer = await self.request("GET", "/api/v1/status", port=self.admin_port)
        assert answer.status == 200, answer
        return msgspec.json.decode(answer.body, type=StatusDocument)

    async def until(
        self, holds: Callable[[StatusDocument], bool], *, within: float = 30
    ) -> StatusDocument:
        """Return the first status that the condition holds for."""
        status = await self.status()
        try:
            async with asyncio.timeout(within):
                while not holds(status):
                    await asyncio.sleep(0.05)
                    status = await self.status()
        except TimeoutError as late:
            late.add_note(f"the last status was {status}")
            raise
        return status

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        port: int | None = None,
    ) -> Response:
        """Send one request, to the data port unless told otherwise, and return the answer."""

        def exchange() -> Response:
            connection = http.client.HTTPConnection(HOST, port or self.port, timeout=30)
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                named = {name.lower(): value for name, value in answer.getheaders()}
                return Response(status=answer.status, headers=named, body=answer.read())
            finally:
                connection.close()

        return await asyncio.to_thread(exchange)


def trigger(status: StatusDocument, key: str) -> TriggerDocument:
    """Return what the status tells of the trigger ``namespace/name``."""
    [found] = [each for broker in status.brokers for each in broker.triggers if each.name == key]
    return found


def _binary(event: Event) -> tuple[dict[str, str], bytes | None]:
    # On purpose not the mesh's own codec, which it could not then be caught out by; so the
    # attributes have to be plain ASCII without what a header must encode.
    headers = {f"ce-{name}": value for name, value in event.attributes.items()}
    if "ce-datacontenttype" in headers:
        headers["Content-Type"] = headers.pop("ce-datacontenttype")
    return headers, event.data
