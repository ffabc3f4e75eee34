"""Desks as the set-up of the tests' servers may meet them, with runs of pytest there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parent.parent.parent

NOTHING: Mapping[str, str] = MappingProxyType({})


def no_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder, empty, of all the programs that are found by name from now on."""
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, *lines: str) -> Path:
    """Write a program of that name and return it."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    file.chmod(0o755)
    return file


def run_pytest(
    folder: Path, plugin: str, tests: str, *options: str, environment: Mapping[str, str] = NOTHING
) -> str:
    """Return what pytest prints of these tests, with this plug-in alone."""
    (folder / "conftest.py").write_text(f"pytest_plugins = [{plugin!r}]")
    (folder / "test_them.py").write_text(tests)
    (folder / "pytest.ini").touch()
    base = (sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-p", "no:asyncio")
    return subprocess.run(
        [*base, "--basetemp", folder / "run", *options, folder],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout
