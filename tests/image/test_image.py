"""The image of the Dockerfile: what is in it, and that it runs as containers are to be run."""

from __future__ import annotations

import asyncio
import filecmp
import json
import os
import signal
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.e2e.manifests import broker, event, manifest, trigger
from tests.image.container import Container, children, state
from tests.image.engine import ROOT, Built, stages
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber, after

BROKER = "default/default"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

pytestmark = pytest.mark.timeout(600)

JOBS = """
apiVersion: sinks.knative.dev/v1alpha1
kind: JobSink
metadata: {name: leaves-some-behind}
spec:
  job:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
            - {name: main, image: none, command: [sh, -c], args: ["sleep 600 & sleep 600 &"]}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: jobs}
spec:
  broker: default
  subscriber:
    ref: {apiVersion: sinks.knative.dev/v1alpha1, kind: JobSink, name: leaves-some-behind}
"""


def packages(image: Built) -> Path:
    """Return the folder that everything is installed in."""
    [found] = image.root.glob("opt/cemesh/lib/python3.*/site-packages")
    return found


def said(image: Built, *command: str) -> str:
    """Return what a command prints in the image, as the user that runs it."""
    stage = stages()[-1]
    environment = {"PATH": stage.environment["PATH"]}
    entered = image.entered(command, environment, user=stage.user, read_only=True)
    return subprocess.run(entered.argv(), check=True, capture_output=True, text=True).stdout


# --- what is in it -------------------------------------------------------------------------


def test_every_file_of_the_packages_is_in_it(image: Built) -> None:
    context = image.root.parent.parent / "context"
    missing = []
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        for each in Path(context, package).rglob("*"):
            name = each.relative_to(context)
            if each.is_file() and not (packages(image) / name).is_file():
                missing.append(str(name))
            elif each.is_file() and not filecmp.cmp(each, packages(image) / name, shallow=False):
                missing.append(f"{name}, as it is")

    assert missing == []


def test_every_plug_in_can_be_loaded(image: Built) -> None:
    groups = {
        name: sorted(points)
        for name, points in PROJECT["project"]["entry-points"].items()
        if name.startswith("cemesh.")
    }
    load = """
import json
from importlib.metadata import entry_points
groups = {group: sorted(each.name for each in entry_points(group=group) if each.load())
          for group in ("cemesh.channels", "cemesh.sources", "cemesh.sinks")}
print(json.dumps(groups))
"""

    assert json.loads(said(image, "python", "-I", "-c", load)) == groups


def test_its_bill_of_materials_lists_what_is_installed(image: Built) -> None:
    bill = json.loads((image.root / "opt/cemesh/sbom.cdx.json").read_text())
    installed = {
        (canonicalize_name(name), version)
        for each in packages(image).glob("*.dist-info")
        for name, _, version in [each.name.removesuffix(".dist-info").rpartition("-")]
    }

    listed = {
        (canonicalize_name(each["name"]), each["version"])
        for each in (*bill["components"], bill["metadata"]["component"])
    }

    assert bill["bomFormat"] == "CycloneDX"
    assert listed == installed


def test_nothing_in_it_installs_or_compiles(image: Built) -> None:
    look = """
import importlib.util, sys
names = ("pip", "ensurepip", "setuptools", "hatchling", "uv", "pytest")
print([name for name in names if importlib.util.find_spec(name)])
"""

    assert said(image, "python", "-I", "-c", look) == "[]\n"
    assert said(image, "/usr/local/bin/python3", "-I", "-c", look) == "[]\n"
    assert not list(image.root.glob("opt/tools"))


def test_all_of_it_is_compiled_and_never_anew(image: Built) -> None:
    version = packages(image).parent.name.removeprefix("python").replace(".", "")
    # PEP 552: the code is found by its hash (1), which is not checked (no 2).
    flags = {
        (each.parent / "__pycache__" / f"{each.stem}.cpython-{version}.pyc").read_bytes()[4:8]
        for each in packages(image).rglob("*.py")
    }

    assert flags == {b"\1\0\0\0"}


def test_whom_it_runs_as_can_change_nothing_of_it(image: Built) -> None:
    def changeable() -> Iterator[Path]:
        for each in image.root.joinpath("opt").rglob("*"):
            found = each.lstat()
            open_to_all = found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode)
            if (found.st_uid, found.st_gid) != (0, 0) or open_to_all:
                yield each

    assert list(changeable()) == []


# --- how it runs ---------------------------------------------------------------------------


RIGHTS = ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs")


def rights_of(process: int) -> dict[str, list[str]]:
    """Return what the kernel says of what the process may do."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    told = {name: value.split() for name, _, value in (each.partition(":") for each in lines)}
    return {name: told[name] for name in RIGHTS}


async def test_an_event_goes_through_and_the_next_container_goes_on(
    image: Built, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    async with Subscriber() as subscriber:
        url = subscriber.answers("/orders", [after(gate, 200), 200])
        text = manifest(broker(), trigger("orders", url, parallelism=1))
        async with Container(tmp_path, text, image) as mesh:
            for each in ("under-way", "waiting"):
                assert await mesh.send(BROKER, event(each)) == 202
            await subscriber.received_at("/orders", 1)
            rights = rights_of(mesh.first_process)
            stopping = asyncio.create_task(mesh.terminate())
            gate.set()
            assert await stopping == 0, mesh.output_end()

            await mesh.start()
            await mesh.until(lambda status: told_of(status, "default/orders").delivered == 2)

    assert [each.header("ce-id") for each in subscriber.received] == ["under-way", "waiting"]
    assert rights == {
        "Uid": ["65532"] * 4,
        "Gid": ["65532"] * 4,
        "Groups": [],
        "CapPrm": ["0" * 16],
        "CapEff": ["0" * 16],
        "CapBnd": ["0" * 16],
        "NoNewPrivs": ["1"],
    }
    owners = {os.lstat(each).st_uid for each in mesh.data_dir.rglob("*")}
    assert owners == {65532}


async def test_programs_leave_no_zombies(image: Built, tmp_path: Path) -> None:
    events = [event(f"event-{number}") for number in range(5)]
    async with Container(tmp_path, manifest(broker(), JOBS), image) as mesh:
        assert set(await mesh.send_all(BROKER, events)) == {202}
        await mesh.until(lambda status: told_of(status, "default/jobs").delivered == 5)

        async with asyncio.timeout(30):
            while "Z" in map(state, children(mesh.first_process)):
                await asyncio.sleep(0.05)


async def test_nothing_of_it_outlives_whoever_runs_it(image: Built, tmp_path: Path) -> None:
    async with Container(tmp_path, manifest(broker()), image) as mesh:
        mine = [mesh.first_process, *children(mesh.first_process)]
        os.kill(mesh.pid, signal.SIGKILL)

        async with asyncio.timeout(30):
            while any(map(is_running, mine)):
                await asyncio.sleep(0.05)
        await mesh.ended()


def is_running(process: int) -> bool:
    try:
        return state(process) != "Z"
    except FileNotFoundError:
        return False


async def test_without_a_volume_it_says_what_it_cannot_write(image: Built, tmp_path: Path) -> None:
    elsewhere = {"CEMESH_DATA_DIR": "/elsewhere"}
    mesh = Container(tmp_path, manifest(broker()), image, environment=elsewhere)

    with pytest.raises(RuntimeError, match="ended with 3"):
        await mesh.start()

    assert "/elsewhere" in mesh.output()
