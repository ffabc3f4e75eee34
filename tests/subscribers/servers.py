"""Servers that others wrote, to deliver to: uvicorn, nginx, Node's, and Go's as Caddy has it.

Each answers at ``/`` with the port that the client came from, uvicorn and Node once they have
read the body, and at ``/refused`` with a 413 at once. Those that are not there are installed as
Debian's packages, where that may be done.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services import apt
from tests.services.missing import Missing
from tests.services.server import Leashed, Server, listened_to

Command = Callable[[str, Path, int], Sequence[str]]
"""Return what runs the program for the folder and the port; it may write its settings there."""

_UVICORN: Final = """
async def app(scope, receive, send):
    status = 413
    if scope["path"] == "/":
        status = 200
        while (await receive())["more_body"]:
            pass
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(scope["client"][1]).encode()})
"""

_NGINX: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:PORT;
        client_max_body_size 64m;
        location = / { return 200 $remote_port; }
        location = /refused { client_max_body_size 1k; return 200; }
    }
}
"""

_NODE: Final = """
require("node:http").createServer((request, response) => {
    if (request.url === "/refused") {
        response.writeHead(413).end();
        return;
    }
    request.on("data", () => {});
    request.on("end", () => response.end(String(request.socket.remotePort)));
}).listen(PORT, "127.0.0.1");
"""

_CADDY: Final = """
{
    admin off
    auto_https off
}
http://127.0.0.1:PORT {
    respond /refused 413
    respond {http.request.remote.port} 200
}
"""


def _written(folder: Path, name: str, text: str, port: int) -> str:
    file = folder / name
    file.write_text(text.replace("PORT", str(port)))
    return str(file)


def _uvicorn(program: str, folder: Path, port: int) -> Sequence[str]:
    _written(folder, "app.py", _UVICORN, port)
    return [program, "-m", "uvicorn", "app:app", f"--app-dir={folder}", f"--port={port}"]


def _nginx(program: str, folder: Path, port: int) -> Sequence[str]:
    settings = _written(folder, "nginx.conf", _NGINX, port)
    return [program, "-p", str(folder), "-c", settings, "-e", "stderr"]


def _node(program: str, folder: Path, port: int) -> Sequence[str]:
    return [program, _written(folder, "server.js", _NODE, port)]


def _caddy(program: str, folder: Path, port: int) -> Sequence[str]:
    settings = _written(folder, "Caddyfile", _CADDY, port)
    return [program, "run", "--adapter", "caddyfile", "--config", settings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A program, the package of Debian's that has it, and how it is run."""

    program: str
    package: str
    command: Command


KINDS: Final[Mapping[str, Kind]] = {
    "uvicorn": Kind(program=sys.executable, package="", command=_uvicorn),
    "nginx": Kind(program="nginx", package="nginx-light", command=_nginx),
    "node": Kind(program="node", package="nodejs", command=_node),
    "caddy": Kind(program="caddy", package="caddy", command=_caddy),
}


def find(kind: Kind, kept: Path) -> str | Missing:
    """Return the path of the program, which is installed if need be; ``kept`` as `apt.install`."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = shutil.which(kind.program, path=path)
    failure = None if found else apt.install(kind.package, kept)
    found = found or shutil.which(kind.program, path=path)
    if found is None:
        return Missing(
            reason=f"no {kind.program} to test with ({failure}). "
            f"Install it (`sudo apt-get install {kind.package}`)"
        )
    return found


class RealServer(Server):
    """One of them, on a free port of 127.0.0.1, with its files in the folder."""

    def __init__(self, kind: Kind, program: str, folder: Path, port: int, *, owner: int) -> None:
        log = folder / "log"
        super().__init__(kind.program, log)
        self.url = f"http://127.0.0.1:{port}"
        self._address = f"127.0.0.1:{port}"
        self._folder = folder
        self._command = kind.command(program, folder, port)
        self._process = Leashed(kind.program, log, owner=owner)

    def start(self, *, within: float = 45) -> None:
        deadline = time.monotonic() + within
        self._process.start(self._command, folder=self._folder)
        self._process.wait_until(lambda: listened_to(self._address), deadline=deadline)

    def stop(self, *, within: float = 20) -> None:
        self._process.stop(within=within)

    def kill(self) -> None:
        self._process.kill()
