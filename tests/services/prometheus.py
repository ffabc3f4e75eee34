"""A Prometheus as a process of its own, which scrapes what its file says.

    with Prometheus(tmp_path, program, settings) as prometheus:
        prometheus.get("query", query="up")

Everything here blocks: on an event loop, use a thread.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from pathlib import Path
from urllib.parse import urlencode

from tests.services.mesh import HOST, free_port
from tests.services.server import Leashed, Server


class Prometheus(Server):
    """A Prometheus, running while this is entered; ``folder`` takes everything.

    ``program`` is the server, which `promtool` has beside it. Files that ``settings`` name are
    looked up in the folder.
    """

    def __init__(self, folder: Path, program: Path, settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "prometheus.yml"
        file.write_text(settings)
        log = folder / "prometheus.log"
        super().__init__("Prometheus", log)
        self._port = free_port()
        self._command = [
            str(program),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
        ]
        self._process = Leashed("Prometheus", log, owner=os.getpid())

    def start(self, *, within: float = 45) -> None:
        """Start it and return once it answers queries."""
        self._process.start(self._command)
        self._process.wait_until(self._ready, deadline=time.monotonic() + within)

    def stop(self, *, within: float = 20) -> None:
        """Let it end in order and return once it has; raise TimeoutExpired if it does not."""
        self._process.stop(within=within)

    def kill(self) -> None:
        """End it as a crash would, and return once it is gone."""
        self._process.kill()

    def get(self, path: str, **asked: str) -> object:
        """Return the ``data`` that the API answers; what it refuses fails here."""
        status, body = self._exchange(f"/api/v1/{path}?{urlencode(asked)}")
        answer = json.loads(body)
        assert status == 200, (asked, answer)
        assert not answer.get("warnings"), (asked, answer)
        return answer["data"]

    def _ready(self) -> bool:
        try:
            return self._exchange("/-/ready")[0] == 200
        except OSError:
            return False

    def _exchange(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
