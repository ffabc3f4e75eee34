"""The built wheel, installed from the lock into an empty environment, runs the quickstart.

This is what a user gets: no checkout, no editable install, no development dependency.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.mesh import HOST, free_port

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = Path("examples", "quickstart")
LOCK = ROOT / "requirements.lock"

pytestmark = pytest.mark.timeout(600)


def run(*command: str | Path, cwd: Path) -> None:
    finished = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheels_of_the_lock() -> Path:
    """Return a folder with all that the lock pins, fetched once for each state of the lock."""
    state = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix, ".wheels", state)
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        partial = folder.with_suffix(".partial")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes")
        run(*pip, "--requirement", LOCK, "--dest", partial, cwd=ROOT)
        partial.rename(folder)
    return folder


@pytest.fixture(scope="module")
def installed(
    wheel: Path, wheels_of_the_lock: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of the commands of an environment with the wheel and nothing else."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    # By uv, in a tenth of the time that venv and pip take.
    uv = Path(sysconfig.get_path("scripts"), "uv")
    run(uv, "venv", "--quiet", "--python", sys.executable, venv, cwd=venv.parent)
    found = ("--no-cache", "--no-index", "--find-links", wheels_of_the_lock)
    locked = ("--require-hashes", "--requirement", LOCK)
    run(uv, "pip", "install", "--quiet", "--python", venv, *found, *locked, cwd=venv.parent)
    pip = (sys.executable, "-m", "pip", "--python", venv / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=venv.parent)
    run(*pip, "check", cwd=venv.parent)
    return venv / "bin"


class Quickstart:
    """``examples/quickstart/run``, copied out of the checkout and moved to free ports."""

    def __init__(self, folder: Path, commands: Path) -> None:
        shutil.copytree(ROOT / QUICKSTART, folder / QUICKSTART)
        subscribers = str(free_port())
        for name in ("mesh.yaml", "run"):
            file = folder / QUICKSTART / name
            file.write_text(file.read_text().replace("8090", subscribers))
        self.port = free_port()
        self.admin_port = free_port()
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [QUICKSTART / "run"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    "PATH": f"{commands}:{os.environ['PATH']}",
                    "CEMESH_PORT": str(self.port),
                    "CEMESH_ADMIN_PORT": str(self.admin_port),
                },
            )

    def output(self) -> str:
        return self._output.read_text()

    def answers(self, event_type: str) -> Counter[tuple[str, int]]:
        """Return how often an event of that type was answered with each status at each path."""
        shown = re.findall(rf"(/\S+) (\d+)  {re.escape(event_type)}  ", self.output())
        return Counter((path, int(status)) for path, status in shown)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        try:
            return exchange("GET", self.admin_port, "/readyz")[0] == 200
        except OSError:
            return False


def exchange(
    method: str,
    port: int,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def documented_curl() -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and body of the first `curl` in the README."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"^```\n(curl .*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found
    words = shlex.split(found[1].replace("\\\n", " "))
    headers = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    [url] = [word for word in words if word.startswith("http://127.0.0.1:8080/")]
    body = words[words.index("-d") + 1].encode()
    named = dict(header.split(": ", 1) for header in headers)
    return url.removeprefix("http://127.0.0.1:8080"), named, body


@pytest.fixture
def quickstart(installed: Path, tmp_path: Path) -> Iterator[Quickstart]:
    running = Quickstart(tmp_path, installed)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(30)


def test_the_wheel_has_the_mesh_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    project, version, *_ = wheel.name.split("-")

    assert {name.partition("/")[0] for name in names} == {
        "broker",
        "delivery",
        "sources",
        "sinks",
        "charts",
        "cemesh",
        f"{project}-{version}.dist-info",
    }
    assert {
        f"{package}/py.typed" for package in ("broker", "delivery", "sources", "sinks", "cemesh")
    } <= names
    console = (ROOT / "broker" / "admin" / "console").rglob("*")
    files = {str(each.relative_to(ROOT)) for each in console if each.is_file()}
    assert "broker/admin/console/index.html" in files <= names


async def test_the_quickstart_does_what_the_readme_says(quickstart: Quickstart) -> None:
    async with asyncio.timeout(60):
        while not quickstart.ready():
            await asyncio.sleep(0.1)
    path, headers, body = documented_curl()

    accepted = exchange("POST", quickstart.port, path, headers, body)

    assert accepted == (202, b"")
    expected = Counter(
        {
            ("/everything", 200): 1,
            ("/invoices", 503): 2,
            ("/invoices", 200): 1,
            ("/shipping", 500): 3,
            ("/dead-letters", 200): 1,
        }
    )
    try:
        async with asyncio.timeout(30):
            while quickstart.answers(headers["ce-type"]) != expected:
                await asyncio.sleep(0.1)
            while not quickstart.answers("dev.knative.sources.ping"):
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"not what was expected:\n{quickstart.output()}")
    assert "knativeerrorcode=500" in quickstart.output()
    assert {*quickstart.answers("dev.knative.sources.ping")} == {("/everything", 200)}


async def test_the_quickstart_stops_in_order(quickstart: Quickstart) -> None:
    async with asyncio.timeout(60):
        while not quickstart.ready():
            await asyncio.sleep(0.1)

    quickstart.process.send_signal(signal.SIGTERM)

    assert await asyncio.to_thread(quickstart.process.wait, 30) == 0, quickstart.output()
