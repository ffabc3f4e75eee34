"""What the Dockerfile says, read without building it. Needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.image.dockerfile import Run, read
from tests.image.engine import ROOT, stages
from tests.unit.test_locks import group, pinned, read_lock

SCRIPTS = sorted(each for each in Path(ROOT, "image").iterdir() if each.suffix == "")


def test_the_bases_are_one_python_that_is_pinned_and_that_cemesh_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    [base] = {each.base for each in stages()}

    pin = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+)\.\d+-slim-[a-z]+", base)
    assert pin, base
    assert f"Programming Language :: Python :: {pin[1]}" in project["classifiers"]


def test_every_step_is_a_script_or_needs_none() -> None:
    commands = [
        step.command[0] for each in stages() for _, step in each.steps if isinstance(step, Run)
    ]

    assert set(commands) == {
        "image/tools",
        "image/packages",
        "image/cemesh",
        "/opt/bare",
        "install",
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", script], check=True)


def test_what_runs_is_a_number_and_not_root() -> None:
    *_, final = stages()

    assert all(0 < int(each) < 2**31 for each in final.user.split(":"))


def test_the_labels_say_what_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    labels = stages()[-1].labels

    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == project["version"]
    assert labels[f"{prefix}licenses"] == project["license"]
    assert project["description"].startswith(labels[f"{prefix}description"])
    assert not any("://" in each for each in labels.values())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM x\nRUN make", "by a shell"),
        ("FROM x\nCMD cemesh", "by a shell"),
        ("FROM x\nADD a b", "ADD"),
        ("FROM x\nCOPY --link a b", "link"),
    ],
)
def test_what_these_tests_cannot_do_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read(text)


# --- its locks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lock", "named"), [("image/packages.lock", "image"), ("image/tools.lock", "image-tools")]
)
def test_a_lock_of_the_image_pins_what_pyproject_asks_for(lock: str, named: str) -> None:
    pins = read_lock(lock)

    assert [str(each) for each in group(named) if not pinned(each, pins)] == []


def test_what_is_in_the_image_is_what_is_tested() -> None:
    tested, image = read_lock("requirements-dev.lock"), read_lock("image/packages.lock")

    assert {name: pins for name, pins in image.items() if tested.get(name) != pins}.keys() == {
        "dumb-init"
    }
    assert read_lock("requirements.lock").keys() - image.keys() == set(HATCHLING)


HATCHLING = ("hatchling", "pathspec", "pluggy", "tomlkit", "trove-classifiers")
"""What builds cemesh, and is not in the image."""


@pytest.mark.parametrize("lock", ["image/packages.lock", "image/tools.lock"])
def test_every_pin_of_the_image_has_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text.strip()))
