"""A package that ``cemesh new source`` writes passes its test, is installed, and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.services.mesh import CEMESH, RunningMesh
from tests.services.subscribers import Subscriber

CACHE = Path(__file__).parents[2] / ".mypy_cache"
"""What the check of all the code has left."""


def ran(
    *command: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_what_is_written_works_as_it_is(tmp_path: Path) -> None:
    written = ran(CEMESH, "new", "source", "big-orders", folder=tmp_path)
    assert written.returncode == 0, written.stderr
    package = tmp_path / "big-orders-source"

    tested = ran(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=package)
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout
    types = ("mypy", "--strict", "--cache-dir", CACHE, "big_orders_source.py")
    for tool in (("ruff", "check", "."), types):
        checked = ran(Path(sys.executable).parent / tool[0], *tool[1:], folder=package)
        assert checked.returncode == 0, checked.stdout

    site = tmp_path / "site"
    options = ("--no-deps", "--no-build-isolation", "--target", site)
    installed = ran(sys.executable, "-m", "pip", "install", *options, ".", folder=package)
    assert installed.returncode == 0, installed.stderr
    environment = {"PYTHONPATH": str(site)}
    listed = ran(CEMESH, "sources", folder=tmp_path, environment=environment)
    (line,) = (each for each in listed.stdout.splitlines() if each.startswith("BigOrders"))
    assert line.split()[:3] == [
        *("BigOrdersSource", "sources.cemesh.dev/v1alpha1", "big-orders-source")
    ]
    async with Subscriber() as subscriber:
        text = (package / "mesh.yaml").read_text()
        text = text.replace("http://127.0.0.1:8090/", subscriber.url("/greetings"))
        async with RunningMesh(tmp_path / "mesh", text, environment=environment):
            first, *_ = await subscriber.received_at("/greetings", 2)

    assert (first.header("ce-id"), first.body) == ("1", b"hello")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "orders-source").mkdir()
    (tmp_path / "orders-source" / "mine").touch()

    refused = ran(CEMESH, "new", "source", "orders", folder=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr == "orders-source is not empty: name another folder with --folder\n"
    assert [each.name for each in (tmp_path / "orders-source").iterdir()] == ["mine"]


def test_a_name_that_no_package_can_have_is_refused(tmp_path: Path) -> None:
    refused = ran(CEMESH, "new", "source", "Orders_1", folder=tmp_path)

    assert refused.returncode == 2
    assert "'Orders_1' is no name of a package: a-z, 0-9 and single '-'" in refused.stderr


def test_what_is_installed_is_listed(tmp_path: Path) -> None:
    sources = ran(CEMESH, "sources", folder=tmp_path)
    sinks = ran(CEMESH, "sinks", "--output", "json", folder=tmp_path)

    assert "PingSource" in sources.stdout
    assert "sources.knative.dev/v1" in sources.stdout
    told = {each["sink"]: each for each in json.loads(sinks.stdout)}
    assert told["http"]["summary"].startswith("All http and https destinations")
    assert told["http"]["package"] == "cemesh"
    assert told["LogSink"]["apiversion"] == "sinks.cemesh.dev/v1alpha1"
