"""The locks are in step with pyproject.toml and with each other. Needs no network."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import cast

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

_ENTRY = re.compile(r"^(?P<name>[\w.\-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)", re.MULTILINE)


def read_lock(name: str) -> dict[str, set[Version]]:
    """Return what the lock pins; a package can have one version for each platform."""
    pins: dict[str, set[Version]] = {}
    for entry in _ENTRY.finditer((ROOT / name).read_text()):
        pins.setdefault(canonicalize_name(entry["name"]), set()).add(Version(entry["version"]))
    return pins


def group(name: str) -> list[Requirement]:
    """Return the requirements of a dependency group and of those that it includes."""
    found = []
    for item in PROJECT["dependency-groups"][name]:
        if isinstance(item, dict):
            found += group(cast("str", item["include-group"]))
        else:
            found.append(Requirement(item))
    return found


def pinned(requirement: Requirement, pins: dict[str, set[Version]]) -> bool:
    versions = pins.get(canonicalize_name(requirement.name), set())
    return bool(versions) and all(map(requirement.specifier.contains, versions))


DEPENDENCIES = [Requirement(text) for text in PROJECT["project"]["dependencies"]]


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", DEPENDENCIES + group("build")),
        ("requirements-dev.lock", DEPENDENCIES + group("dev")),
    ],
)
def test_a_lock_pins_what_pyproject_asks_for(lock: str, requirements: list[Requirement]) -> None:
    pins = read_lock(lock)

    out_of_step = [
        str(requirement) for requirement in requirements if not pinned(requirement, pins)
    ]

    assert not out_of_step, "`make lock` brings the locks in step"


def test_what_is_tested_is_what_is_run() -> None:
    run, dev = read_lock("requirements.lock"), read_lock("requirements-dev.lock")

    assert run
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_hashes_and_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text.strip()))
    assert "://" not in text
