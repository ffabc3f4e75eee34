"""Processes that are measured, and what they take: processor time and memory."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from bench.machine import CORES, pinned
from tests.services.mesh import HOST, free_port

_CEMESH: Final = str(Path(sysconfig.get_path("scripts"), "cemesh"))
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Process:
    """A process that serves while this is entered, on a free ``port``.

    ``command`` makes the command line from the port. What is ``measured`` has a core of its own.
    ``ready`` is asked until it says so.
    """

    def __init__(
        self,
        name: str,
        log: Path,
        command: Callable[[int], Sequence[str]],
        *,
        measured: bool = True,
        ready: Callable[[int], bool] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name: Final = name
        self.port: Final = free_port()
        self.started_in = 0.0
        self._log = log
        self._command = command(self.port)
        self._cores: Collection[int] = CORES.measured if measured else CORES.others
        self._ready = ready or _listens
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        began = time.monotonic()
        with self._log.open("ab") as log, pinned(self._cores):
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        try:
            while not self._ready(self.port):
                if self._process.poll() is not None or time.monotonic() - began > 120:
                    raise RuntimeError(f"{self.name} does not serve:\n{self._log.read_text()}")
                time.sleep(0.003)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.started_in = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    def cpu(self) -> float:
        """Return the seconds of processor that it and its children have had."""
        return sum(processor(pid) for pid in family(self.pid))

    def memory(self) -> float:
        """Return the MiB that it and its children have in memory."""
        return sum(resident(pid) for pid in family(self.pid))


def family(pid: int) -> Iterator[int]:
    """Yield the id of a process, and those of all that it has started."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def processor(pid: int) -> float:
    """Return the seconds of processor that a process has had, with its threads that have ended."""
    return time.clock_gettime((~pid << 3) | _PROCESSOR_CLOCK)


_PROCESSOR_CLOCK: Final = 2
"""Linux's clock of a process that another one may read, as `clock_getcpuclockid(3)` has it: in
nanoseconds, where /proc counts in hundredths of a second."""


def threads(pid: int) -> Mapping[int, float]:
    """Return the seconds of processor that each thread of a process and its children has had."""
    found = {}
    for each in family(pid):
        for thread in Path(f"/proc/{each}/task").iterdir():
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            found[int(thread.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def resident(pid: int) -> float:
    """Return the MiB that a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def ask(port: int, path: str, *, method: str = "GET", body: str | None = None) -> bytes:
    """Return the body of an answer; raise OSError where nobody answers, or not with 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answered = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ConnectionError(f"{path} answers {answer.status}: {answered[:200]!r}")
    return answered


def _listens(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        connection.connect()
        connection.close()
    except OSError:
        return False
    return True


class Mesh(Process):
    """``cemesh run`` on a manifest. The folder takes the manifest, the data and the log.

    ``channel`` is the URL of `--channel`, or None for the embedded one. It has a core of its own,
    unless it is ``spread`` over all.
    """

    def __init__(
        self,
        folder: Path,
        manifest: str,
        *,
        channel: str | None = None,
        arguments: Sequence[str] = (),
        spread: bool = False,
    ) -> None:
        folder.mkdir(parents=True)
        file = folder / "mesh.yaml"
        file.write_text(manifest)
        self.admin_port: Final = free_port()
        # With bytecode kept, as it is where a mesh is installed.
        ours = {
            name: value
            for name, value in os.environ.items()
            if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("CEMESH_")
        }
        if channel is not None:
            ours["CEMESH_CHANNEL"] = channel  # which may have a password
        super().__init__(
            "cemesh",
            folder / "log",
            lambda port: [
                *(_CEMESH, "run", str(file), "--data-dir", str(folder / "data")),
                *("--port", str(port), "--admin-port", str(self.admin_port)),
                *("--drain-timeout", "1s", *arguments),
            ],
            ready=lambda _: self._is_ready(),
            environment=ours,
        )
        if spread:
            self._cores = ()

    def _is_ready(self) -> bool:
        try:
            ask(self.admin_port, "/readyz")
        except (OSError, http.client.HTTPException):
            return False
        return True


def sink(folder: Path) -> Process:
    """Return the subscribers."""
    command = (sys.executable, "-m", "bench.sink")
    return Process("sink", folder / "sink.log", lambda port: [*command, str(port)], measured=False)


def minimal(folder: Path, subscriber: int) -> Process:
    """Return the minimal asyncio loop, that sends to this port."""
    command = (sys.executable, "-m", "bench.minimal")
    log = folder / "minimal.log"
    return Process("minimal loop", log, lambda port: [*command, str(port), str(subscriber)])


def uvicorn(folder: Path) -> Process:
    """Return uvicorn with the bare ASGI application, with its access log off as in the mesh."""
    return Process(
        "bare uvicorn",
        folder / "uvicorn.log",
        lambda port: [
            *(sys.executable, "-m", "uvicorn", "bench.bareasgi:app", "--port", str(port)),
            *("--no-access-log", "--log-level", "warning", "--lifespan", "off"),
        ],
    )


def nginx(folder: Path, program: str) -> Process:
    """Return nginx answering 202 to everything, in one process."""
    home = folder / "nginx"
    home.mkdir()
    settings = home / "nginx.conf"

    def command(port: int) -> Sequence[str]:
        settings.write_text(_NGINX.replace("PORT", str(port)))
        return [program, "-p", str(home), "-c", str(settings), "-e", "stderr"]

    return Process("nginx 202", folder / "nginx.log", command)


_NGINX: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:PORT backlog=1024;
        client_max_body_size 64m;
        location / { return 202; }
    }
}
"""
